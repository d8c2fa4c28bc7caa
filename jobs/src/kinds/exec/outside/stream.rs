//! Reads the Arrow IPC stream on stdout.
//!
//! ```text
//!  FF FF FF FF │ metadata length, i32 │ metadata (flatbuffer: kind, body length, …) │ body
//!  FF FF FF FF │ 0                      the end
//! ```
//!
//! The bytes are cut into messages here and not by arrow's `StreamDecoder`: that one keeps the announced lengths as they
//! are, waits for a byte after a message without a body, and panics on offsets outside of the body. Here every length is
//! held against the limits before memory is taken, which then grows with the bytes that come; every offset is checked; and
//! a panic that decoding still finds is an error. Compressed bodies are refused, since they announce their true size only
//! inside, and a pipe gains nothing by them.
//!
//! Source: <https://arrow.apache.org/docs/format/Columnar.html#ipc-streaming-format>.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::buffer::Buffer;
use arrow::datatypes::{Schema, SchemaRef};
use arrow::ipc::convert::fb_to_schema;
use arrow::ipc::reader::{RecordBatchDecoder, read_dictionary};
use arrow::ipc::{Endianness, Message, MessageHeader, root_as_message_with_opts};
use flatbuffers::VerifierOptions;
use tokio::process::ChildStdout;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::error::{BoxError, Failure};
use super::lines::read_until_ended;
use super::{EndMarker, Limits};

/// Largest metadata of a message: that of a schema with some 100,000 columns.
const METADATA_BYTES_MAX: u64 = 16 << 20;

/// Largest metadata with shared parts counted each time: a forged one names the same text a million times.
const METADATA_SPREAD_BYTES_MAX: usize = 4 * METADATA_BYTES_MAX as usize;

/// Messages read ahead of the one that is decoded.
const MESSAGES_AHEAD: usize = 1;

/// Memory taken before any byte of a body came.
const FIRST_BYTES: u64 = 1 << 20;

/// Bytes that an error quotes.
const QUOTED_BYTES: usize = 60;

/// What came, up to the end of stdout.
pub(super) struct Taken {
    schema: Option<SchemaRef>,
    rows: u64,
    bytes: u64,
    /// What is missing at the end.
    lack: Option<Failure>,
}

/// A whole output.
pub(super) struct Whole {
    pub(super) schema: SchemaRef,
    pub(super) rows: u64,
    pub(super) bytes: u64,
}

impl Taken {
    /// The output, if it is whole. Asked only once the exit code is known to be good.
    pub(super) fn whole(self) -> Result<Whole, Failure> {
        match (self.schema, self.lack) {
            (Some(schema), None) => Ok(Whole { schema, rows: self.rows, bytes: self.bytes }),
            (_, Some(lack)) => Err(lack),
            (None, None) => Err(Failure::NoOutput),
        }
    }
}

/// One message, complete and within the limits.
struct Frame {
    metadata: Vec<u8>,
    body: Vec<u8>,
    message: u64,
}

/// Reads to the end of stdout, decodes on blocking threads, gives each batch to the sink.
pub(super) async fn take<F: Future<Output = Result<(), BoxError>> + Send>(
    stdout: &mut ChildStdout,
    limits: &Limits,
    ended: &CancellationToken,
    mut sink: impl FnMut(RecordBatch) -> F + Send,
) -> Result<Taken, Failure> {
    let (sender, mut receiver) = mpsc::channel(MESSAGES_AHEAD);
    let cut = async move {
        let mut frames = Frames { stdout, limits, ended, bytes: 0, message: 0 };
        loop {
            let frame = match frames.next().await? {
                Next::Frame(frame) => frame,
                Next::End(lack) => return Ok((frames.bytes, lack)),
            };
            // The decoder went away because it failed, and says so itself.
            if sender.send(frame).await.is_err() {
                return Ok((frames.bytes, None));
            }
        }
    };
    let decode = async {
        let mut decoder = Decoder::new(limits.output_rows);
        while let Some(frame) = receiver.recv().await {
            let batch;
            (decoder, batch) = tokio::task::spawn_blocking(move || {
                let batch = catch_unwind(AssertUnwindSafe(|| decoder.decode(frame)));
                (decoder, batch)
            })
            .await
            .map_err(|source| Failure::Pipe {
                what: "decoding its output",
                source: std::io::Error::other(source),
            })?;
            let message = decoder.message;
            let batch = batch.unwrap_or_else(|_| {
                Err(Failure::Broken { message, why: "its parts do not fit each other".to_owned() })
            })?;
            if let Some(batch) = batch {
                sink(batch).await.map_err(Failure::Sink)?;
            }
        }
        Ok(decoder)
    };
    let ((bytes, lack), decoder) = tokio::try_join!(cut, decode)?;
    Ok(Taken { schema: decoder.schema, rows: decoder.rows, bytes, lack })
}

/// Reads what is left and forgets it, so that the program can go on to its end.
pub(super) async fn drain(stdout: &mut ChildStdout, ended: &CancellationToken) {
    let mut buffer = Vec::with_capacity(8192);
    while let Ok(1..) = read_until_ended(stdout, &mut buffer, 8192, ended).await {
        buffer.clear();
    }
}

enum Next {
    Frame(Frame),
    /// The end of stdout, and what is missing there.
    End(Option<Failure>),
}

/// Cuts stdout into messages.
struct Frames<'a> {
    stdout: &'a mut ChildStdout,
    limits: &'a Limits,
    ended: &'a CancellationToken,
    bytes: u64,
    message: u64,
}

impl Frames<'_> {
    async fn next(&mut self) -> Result<Next, Failure> {
        let mut head = Vec::with_capacity(8);
        let lack = self.fill(&mut head, 8).await?;
        if head.is_empty() {
            // `Taken::whole` reports an output without any message as empty.
            let is_whole = self.message == 0 || self.limits.end_marker == EndMarker::Optional;
            let lack = (!is_whole).then_some(Failure::Unmarked { messages: self.message });
            return Ok(Next::End(lack));
        }
        if !head.starts_with(&[0xff; 4][..head.len().min(4)]) {
            return Err(self.not_arrow(head).await);
        }
        if lack.is_some() {
            return Ok(Next::End(lack));
        }
        let length = i32::from_le_bytes([head[4], head[5], head[6], head[7]]);
        if length == 0 {
            return self.end().await;
        }
        let length = match u64::try_from(length) {
            Ok(length) if length <= METADATA_BYTES_MAX => length,
            _ => {
                let why = format!(
                    "it announces {length} bytes of metadata; 1 to {METADATA_BYTES_MAX} are expected"
                );
                return Err(self.broken(why));
            }
        };
        self.announced(length)?;
        let mut metadata = Vec::new();
        if let Some(lack) = self.fill(&mut metadata, length).await? {
            return Ok(Next::End(Some(lack)));
        }
        let body_length = parse(&metadata).map(|parsed| parsed.bodyLength());
        let body_length = body_length.map_err(|why| self.broken(why))?;
        let Ok(body_length) = u64::try_from(body_length) else {
            return Err(self.broken(format!("it announces a body of {body_length} bytes")));
        };
        self.announced(body_length)?;
        let mut body = Vec::new();
        if let Some(lack) = self.fill(&mut body, body_length).await? {
            return Ok(Next::End(Some(lack)));
        }
        let frame = Frame { metadata, body, message: self.message };
        self.message += 1;
        Ok(Next::Frame(frame))
    }

    /// After the end of the stream nothing may come: it would be rows that nobody reads, or a stray print.
    async fn end(&mut self) -> Result<Next, Failure> {
        let mut more = Vec::with_capacity(QUOTED_BYTES);
        self.fill(&mut more, 1).await?;
        if more.is_empty() { Ok(Next::End(None)) } else { Err(self.not_arrow(more).await) }
    }

    fn announced(&self, length: u64) -> Result<(), Failure> {
        let (found_bytes, limit_bytes) =
            (self.bytes.saturating_add(length), self.limits.output_bytes);
        if found_bytes > limit_bytes {
            return Err(Failure::TooManyBytes { limit_bytes, found_bytes });
        }
        if length > self.limits.batch_bytes {
            let limit_bytes = self.limits.batch_bytes;
            return Err(Failure::MessageTooLarge { limit_bytes, found_bytes: length });
        }
        Ok(())
    }

    /// Reads exactly `length` bytes; says what is missing if stdout ends before.
    async fn fill(
        &mut self,
        buffer: &mut Vec<u8>,
        length: u64,
    ) -> Result<Option<Failure>, Failure> {
        buffer.reserve(length.min(FIRST_BYTES) as usize);
        loop {
            let missing_bytes = length.saturating_sub(buffer.len() as u64);
            if missing_bytes == 0 {
                return Ok(None);
            }
            if buffer.len() == buffer.capacity() {
                // Doubles, but never past what the message needs.
                let more = missing_bytes.min(buffer.len() as u64) as usize;
                buffer.reserve_exact(more);
            }
            let read = read_until_ended(self.stdout, buffer, missing_bytes, self.ended).await;
            match read {
                Ok(0) => {
                    let (at_byte, message) = (self.bytes, self.message);
                    return Ok(Some(Failure::Cut { at_byte, message, missing_bytes }));
                }
                Ok(read) => self.bytes += read as u64,
                Err(source) => {
                    return Err(Failure::Pipe { what: "reading its stdout", source });
                }
            }
        }
    }

    fn broken(&self, why: String) -> Failure {
        Failure::Broken { message: self.message, why }
    }

    /// Says what stands where a message should begin.
    async fn not_arrow(&mut self, mut bytes: Vec<u8>) -> Failure {
        let at_byte = self.bytes - bytes.len() as u64;
        // Whatever else is already there makes the quotation longer.
        let rest = self.fill(&mut bytes, QUOTED_BYTES as u64);
        let _ = tokio::time::timeout(std::time::Duration::from_millis(50), rest).await;
        let hint = match &bytes[..] {
            [b'A', b'R', b'R', b'O', b'W', b'1', ..] => {
                "; that is an Arrow file: write a stream (pyarrow.ipc.new_stream, not new_file)"
            }
            [0xff, 0xff, 0xff, 0xff, ..] => "; write one stream that has all batches",
            _ if text(&bytes).is_some() => {
                "; is it a stray print? print to stderr, as stdout is for the rows"
            }
            _ => "",
        };
        Failure::NotArrow { at_byte, found: quote(&bytes), hint }
    }
}

/// The text that the bytes begin with, if it is long enough to be no chance.
fn text(bytes: &[u8]) -> Option<String> {
    const CHARS_MIN: usize = 3;
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(QUOTED_BYTES)]).into_owned();
    let strange =
        |c: char| c == '\u{fffd}' || (c.is_control() && !c.is_whitespace() && c != '\u{1b}');
    let text = text.split(strange).next().unwrap_or_default();
    (text.chars().count() >= CHARS_MIN).then(|| text.to_owned())
}

fn quote(bytes: &[u8]) -> String {
    if let Some(text) = text(bytes) {
        return format!("the text {text:?}");
    }
    let hex: Vec<String> = bytes.iter().take(16).map(|byte| format!("{byte:02X}")).collect();
    format!("the bytes {}", hex.join(" "))
}

fn parse(metadata: &[u8]) -> Result<Message<'_>, String> {
    let options = VerifierOptions {
        max_apparent_size: METADATA_SPREAD_BYTES_MAX,
        ..VerifierOptions::default()
    };
    root_as_message_with_opts(&options, metadata)
        .map_err(|error| format!("its metadata is no Arrow message ({})", first_line(&error)))
}

fn first_line(error: &impl std::fmt::Display) -> String {
    error.to_string().lines().next().unwrap_or_default().trim_end_matches('.').to_owned()
}

/// Turns messages into batches.
struct Decoder {
    schema: Option<SchemaRef>,
    dictionaries: HashMap<i64, ArrayRef>,
    rows: u64,
    rows_max: u64,
    /// The message under way, for errors.
    message: u64,
}

impl Decoder {
    fn new(rows_max: u64) -> Self {
        Self { schema: None, dictionaries: HashMap::new(), rows: 0, rows_max, message: 0 }
    }

    /// Decodes a message; a schema or a dictionary gives no batch.
    fn decode(&mut self, frame: Frame) -> Result<Option<RecordBatch>, Failure> {
        self.message = frame.message;
        let message = frame.message;
        let broken = |why: String| Failure::Broken { message, why };
        let parsed = parse(&frame.metadata).map_err(broken)?;
        let body = Buffer::from_vec(frame.body);
        let version = parsed.version();
        let kind = parsed.header_type();
        if kind == MessageHeader::Schema {
            let schema =
                parsed.header_as_schema().ok_or_else(|| broken("it is empty".to_owned()))?;
            if schema.endianness() != Endianness::Little {
                return Err(broken(
                    "its numbers are big-endian; little-endian is expected".to_owned(),
                ));
            }
            self.schema(fb_to_schema(schema))?;
            return Ok(None);
        }
        let Some(schema) = self.schema.clone() else {
            return Err(broken(format!("a schema is expected first; this is a {kind:?}")));
        };
        if let Some(batch) = parsed.header_as_record_batch() {
            self.check(&batch, body.len())?;
            let rows = batch.length().cast_unsigned();
            let found_rows = self.rows.saturating_add(rows);
            if found_rows > self.rows_max {
                return Err(Failure::TooManyRows { limit_rows: self.rows_max, found_rows });
            }
            let decoder =
                RecordBatchDecoder::try_new(&body, batch, schema, &self.dictionaries, &version);
            let batch = decoder
                .and_then(RecordBatchDecoder::read_record_batch)
                .map_err(|error| broken(first_line(&error)))?;
            self.rows = found_rows;
            return Ok(Some(batch));
        }
        if let Some(dictionary) = parsed.header_as_dictionary_batch() {
            let values = dictionary
                .data()
                .ok_or_else(|| broken("a dictionary without values".to_owned()))?;
            self.check(&values, body.len())?;
            read_dictionary(&body, dictionary, &schema, &mut self.dictionaries, &version)
                .map_err(|error| broken(first_line(&error)))?;
            return Ok(None);
        }
        Err(broken(format!("a schema, dictionary or record batch is expected; this is a {kind:?}")))
    }

    fn schema(&mut self, schema: Schema) -> Result<(), Failure> {
        match &self.schema {
            Some(first) if **first != schema => {
                Err(Failure::SchemaChanged { first: columns(first), then: columns(&schema) })
            }
            Some(_) => Ok(()),
            None => {
                self.schema = Some(Arc::new(schema));
                Ok(())
            }
        }
    }

    /// What the decoder takes on trust: lengths, and places in the body.
    fn check(&self, batch: &arrow::ipc::RecordBatch<'_>, body_bytes: usize) -> Result<(), Failure> {
        let broken = |why: String| Failure::Broken { message: self.message, why };
        if batch.compression().is_some() {
            let why = "it is compressed; write it without (IpcWriteOptions(compression=None))";
            return Err(broken(why.to_owned()));
        }
        if batch.length() < 0 {
            return Err(broken(format!("it announces {} rows", batch.length())));
        }
        // A value takes a bit at least, but for columns that are nothing but nulls.
        let values_max = self.rows_max.max(body_bytes as u64 * 8);
        for node in batch.nodes().into_iter().flatten() {
            let (length, nulls) = (node.length(), node.null_count());
            if length < 0 || length.cast_unsigned() > values_max || nulls < 0 || nulls > length {
                return Err(broken(format!(
                    "a column announces {length} values, {nulls} of them null"
                )));
            }
        }
        let mut left = body_bytes as u64;
        for buffer in batch.buffers().into_iter().flatten() {
            let place =
                u64::try_from(buffer.offset()).ok().zip(u64::try_from(buffer.length()).ok());
            let inside = place.filter(|(offset, length)| {
                offset.checked_add(*length).is_some_and(|end| end <= body_bytes as u64)
            });
            // Parts that overlap would be copied each, where they are not aligned.
            let rest = inside.and_then(|(_, length)| left.checked_sub(length));
            left = rest.ok_or_else(|| {
                broken(format!(
                    "a buffer of {} bytes at {} does not fit into its body of {body_bytes}",
                    buffer.length(),
                    buffer.offset()
                ))
            })?;
        }
        Ok(())
    }
}

/// The columns in short, for an error.
fn columns(schema: &Schema) -> String {
    const SHOWN: usize = 20;
    let mut shown: Vec<String> = schema
        .fields()
        .iter()
        .take(SHOWN)
        .map(|field| format!("{}: {}", field.name(), field.data_type()))
        .collect();
    if schema.fields().len() > SHOWN {
        shown.push("…".to_owned());
    }
    format!("[{}]", shown.join(", "))
}
