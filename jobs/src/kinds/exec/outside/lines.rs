//! Reads stderr: each line as it comes, and the end of all for errors.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::ChildStderr;
use tokio_util::sync::CancellationToken;

/// Bytes of a line that are handed on; the rest of it is dropped, and `…` says so.
const LINE_BYTES_MAX: usize = 4096;

/// Lines handed on; a last one says that there were more.
const LINES_MAX: u64 = 100_000;

/// Once the program has ended, nothing more is awaited than what the pipe already holds: one who left its process group may
/// hold the other end open forever.
const AFTER_END: Duration = Duration::from_millis(200);

/// Reads some bytes; 0 at the end, which is also a pause of [`AFTER_END`] after the program ended.
pub(super) async fn read_until_ended(
    pipe: &mut (impl AsyncRead + Unpin),
    buffer: &mut Vec<u8>,
    max: u64,
    ended: &CancellationToken,
) -> std::io::Result<usize> {
    let mut pipe = pipe.take(max);
    let late = async {
        ended.cancelled().await;
        tokio::time::sleep(AFTER_END).await;
    };
    tokio::select! {
        biased;
        read = pipe.read_buf(buffer) => read,
        () = late => Ok(0),
    }
}

/// The reader of stderr.
pub(super) struct Lines<'a> {
    pipe: ChildStderr,
    on_line: &'a (dyn Fn(&str) + Send + Sync),
    line: Vec<u8>,
    cut: bool,
    lines: u64,
    tail: VecDeque<u8>,
    tail_bytes: usize,
}

impl<'a> Lines<'a> {
    pub(super) fn new(
        pipe: ChildStderr,
        tail_bytes: usize,
        on_line: &'a (dyn Fn(&str) + Send + Sync),
    ) -> Self {
        let (line, tail) = (Vec::new(), VecDeque::new());
        Self { pipe, on_line, line, cut: false, lines: 0, tail, tail_bytes }
    }

    /// Reads to the end; may be dropped in between and called again. An error of the pipe is its end.
    pub(super) async fn listen(&mut self, ended: &CancellationToken) {
        let mut buffer = Vec::with_capacity(8192);
        loop {
            buffer.clear();
            match read_until_ended(&mut self.pipe, &mut buffer, 8192, ended).await {
                Ok(0) | Err(_) => break,
                Ok(_) => self.add(&buffer),
            }
        }
        self.end_line();
    }

    fn add(&mut self, bytes: &[u8]) {
        let kept = &bytes[bytes.len().saturating_sub(self.tail_bytes)..];
        self.tail.extend(kept);
        self.tail.drain(..self.tail.len().saturating_sub(self.tail_bytes));
        for &byte in bytes {
            // A progress bar rewrites its line after a carriage return.
            if byte == b'\n' || byte == b'\r' {
                self.end_line();
            } else if self.line.len() < LINE_BYTES_MAX {
                self.line.push(byte);
            } else {
                self.cut = true;
            }
        }
    }

    fn end_line(&mut self) {
        if !self.line.is_empty() && self.lines < LINES_MAX {
            let text = String::from_utf8_lossy(&self.line);
            if self.cut {
                (self.on_line)(&format!("{text}…"))
            } else {
                (self.on_line)(&text)
            }
            self.lines += 1;
            if self.lines == LINES_MAX {
                (self.on_line)("(more lines are not shown)");
            }
        }
        self.line.clear();
        self.cut = false;
    }

    /// The end of stderr, from the start of a line where it was cut.
    pub(super) fn tail(&self) -> String {
        let bytes: Vec<u8> = self.tail.iter().copied().collect();
        let text = String::from_utf8_lossy(&bytes);
        if self.tail.len() < self.tail_bytes {
            return text.into_owned();
        }
        text.split_once('\n').map_or(&*text, |(_, whole)| whole).to_owned()
    }
}
