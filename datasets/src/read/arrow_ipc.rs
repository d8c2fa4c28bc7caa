//! Arrow IPC, file and stream: messages are framed and checked here and decoded by the `arrow-ipc` crate.
//!
//! The crate's own readers reserve a message's declared length before reading it; here nothing is reserved
//! that the source has not shown to hold, and nothing is unpacked beyond the budget.

use std::collections::HashMap;
use std::io::{self, BufReader, Cursor, Read, Seek, SeekFrom};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch};
use arrow::buffer::Buffer;
use arrow::datatypes::{Schema, SchemaRef};
use arrow::ipc::convert::fb_to_schema;
use arrow::ipc::reader::{RecordBatchDecoder, read_dictionary};
use arrow::ipc::{
    Block, CompressionType, Message, MessageHeader, MetadataVersion, RecordBatch as BatchHeader,
    root_as_footer, root_as_message,
};
use bytes::Bytes;

use super::contain_decoder;
use super::expand::Chunks;
use super::unpack::{LZ4_RATIO_MAX, Unbounded, check_unpacked};
use super::{Chunk, Format, ReadOptions, RowReader, Source};
use crate::error::{Error, Result};

const MAGIC: &[u8] = b"ARROW1";
const CONTINUATION: [u8; 4] = [0xFF; 4];
/// Largest message header or footer.
const HEADER_MAX_BYTES: u64 = 64 * 1024 * 1024;
/// Rows that one batch may declare: columns of nulls take no bytes.
const BATCH_ROWS_MAX: i64 = 1 << 31;

/// Opens either form; which one it is, the first bytes say.
pub(crate) fn open(source: &Source, options: &ReadOptions) -> Result<Box<dyn RowReader>> {
    let head = source.head(MAGIC.len())?;
    if head != MAGIC {
        let input = source.text()?;
        return IpcReader::open(
            source,
            Form::Stream(Stream { input: Box::new(input), at: 0 }),
            options,
        );
    }
    let input: Box<dyn SeekableRead> = match source {
        Source::Body { bytes, .. } if !bytes.starts_with(&[0x1F, 0x8B]) => {
            Box::new(Cursor::new(bytes.clone()))
        }
        Source::File { .. } => {
            let mut file = source.file()?;
            let mut start = [0; 6];
            let read = file.read(&mut start).map_err(|e| source.io("read", e))?;
            if &start[..read] == MAGIC {
                Box::new(BufReader::new(file))
            } else {
                Box::new(Cursor::new(Bytes::from(source.whole(options.decoded_budget_bytes)?)))
            }
        }
        Source::Body { .. } => {
            Box::new(Cursor::new(Bytes::from(source.whole(options.decoded_budget_bytes)?)))
        }
    };
    IpcReader::open(source, Form::File(Blocks { input, batches: Vec::new(), next: 0 }), options)
}

trait SeekableRead: Read + Seek + Send {}
impl<T: Read + Seek + Send> SeekableRead for T {}

struct IpcReader {
    source_name: String,
    format: Format,
    decoder: Decoder,
    form: Form,
    chunks: Chunks,
    done: bool,
}

enum Form {
    Stream(Stream),
    File(Blocks),
}

struct Stream {
    input: Box<dyn Read + Send>,
    /// Bytes read so far, to say where a fault is.
    at: u64,
}

struct Blocks {
    input: Box<dyn SeekableRead>,
    batches: Vec<Block>,
    next: usize,
}

/// A message as it stands in the source.
struct Framed {
    header: Vec<u8>,
    body: Buffer,
}

/// Decodes messages, one after another.
struct Decoder {
    schema: SchemaRef,
    dictionaries: HashMap<i64, ArrayRef>,
    budget_bytes: usize,
}

/// What is wrong, and where in the source.
type Problem = String;

impl IpcReader {
    fn open(source: &Source, form: Form, options: &ReadOptions) -> Result<Box<dyn RowReader>> {
        let name = source.name();
        let format = match form {
            Form::Stream(_) => Format::ArrowStream,
            Form::File(_) => Format::ArrowFile,
        };
        let (decoder, form) =
            contain_decoder(name, format, || start(form, options.decoded_budget_bytes))?
                .map_err(|problem| unreadable(name, format, problem))?;
        let schema = Schema::new(decoder.schema.fields().clone());
        if schema.fields().is_empty() {
            return Err(unreadable(name, format, "it has no columns".into()));
        }
        let chunks = contain_decoder(name, format, || Chunks::new(&schema, options))?;
        Ok(Box::new(Self {
            source_name: name.to_owned(),
            format,
            decoder,
            form,
            chunks,
            done: false,
        }))
    }

    fn next_batch(&mut self) -> Result<Option<RecordBatch>> {
        let place = format!("{} after row {}", self.source_name, self.chunks.rows());
        let (decoder, form) = (&mut self.decoder, &mut self.form);
        let next = contain_decoder(&place, self.format, || match form {
            Form::Stream(stream) => stream.next_batch(decoder),
            Form::File(blocks) => blocks.next_batch(decoder),
        })?;
        next.map_err(|problem| unreadable(&place, self.format, problem))
    }
}

impl RowReader for IpcReader {
    fn schema(&self) -> SchemaRef {
        self.chunks.schema()
    }

    fn next_chunk(&mut self) -> Result<Option<Chunk>> {
        loop {
            let place = format!("{} after row {}", self.source_name, self.chunks.rows());
            let (chunks, name) = (&mut self.chunks, &self.source_name);
            if let Some(chunk) = contain_decoder(&place, self.format, || chunks.pop(name))?? {
                return Ok(Some(chunk));
            }
            if self.done {
                return Ok(None);
            }
            match self.next_batch() {
                Ok(Some(batch)) => self.chunks.push(batch),
                Ok(None) => self.done = true,
                Err(error) => {
                    self.done = true;
                    return Err(error);
                }
            }
        }
    }
}

fn unreadable(source_name: &str, format: Format, problem: String) -> Error {
    Error::Unreadable { source_name: source_name.into(), format: format.name(), problem }
}

fn start(mut form: Form, budget_bytes: usize) -> std::result::Result<(Decoder, Form), Problem> {
    let decoder = match &mut form {
        Form::Stream(stream) => {
            let first = stream.next_message(budget_bytes)?.ok_or("it is empty")?;
            let message = parse(&first.header)?;
            let schema = message.header_as_schema().ok_or_else(|| {
                format!("expected a schema first, found {:?}", message.header_type())
            })?;
            check_endianness(&schema)?;
            Decoder::new(fb_to_schema(schema), budget_bytes)
        }
        Form::File(blocks) => blocks.read_footer(budget_bytes)?,
    };
    Ok((decoder, form))
}

fn check_endianness(schema: &arrow::ipc::Schema<'_>) -> std::result::Result<(), Problem> {
    if schema.fields().is_none() {
        return Err("its schema has no fields".into());
    }
    if schema.endianness() == arrow::ipc::Endianness::Big {
        return Err("it is big-endian, which is not supported".into());
    }
    Ok(())
}

fn parse(header: &[u8]) -> std::result::Result<Message<'_>, Problem> {
    root_as_message(header).map_err(|e| format!("message header: {e}"))
}

/// Reads exactly `count` bytes, holding no more than have come.
fn read_bytes(
    input: &mut dyn Read,
    count: u64,
    what: &str,
) -> std::result::Result<Vec<u8>, Problem> {
    let mut bytes = Vec::new();
    let read = input.take(count).read_to_end(&mut bytes).map_err(|e| format!("{what}: {e}"))?;
    if (read as u64) < count {
        return Err(format!("{what}: {count} bytes are declared, {read} are there"));
    }
    Ok(bytes)
}

impl Stream {
    fn next_message(
        &mut self,
        budget_bytes: usize,
    ) -> std::result::Result<Option<Framed>, Problem> {
        let at = self.at;
        self.framed(budget_bytes).map_err(|problem| format!("message at byte {at}: {problem}"))
    }

    fn framed(&mut self, budget_bytes: usize) -> std::result::Result<Option<Framed>, Problem> {
        let Some(mut length) = self.word()? else { return Ok(None) };
        if length == CONTINUATION {
            length = self.word()?.ok_or("it ends inside a message")?;
        }
        let length = i32::from_le_bytes(length);
        if length == 0 {
            return Ok(None);
        }
        let length = u64::try_from(length)
            .ok()
            .filter(|length| *length <= HEADER_MAX_BYTES)
            .ok_or_else(|| format!("a header of {length} bytes"))?;
        let header = read_bytes(&mut self.input, length, "header")?;
        let body_bytes = parse(&header)?.bodyLength();
        let body_bytes = u64::try_from(body_bytes)
            .ok()
            .filter(|length| *length <= budget_bytes as u64)
            .ok_or_else(|| {
                format!("a body of {body_bytes} bytes; at most {budget_bytes} are read")
            })?;
        let body = read_bytes(&mut self.input, body_bytes, "body")?;
        self.at += length + body_bytes;
        Ok(Some(Framed { header, body: Buffer::from_vec(body) }))
    }

    /// The next four bytes; `None` at the end.
    fn word(&mut self) -> std::result::Result<Option<[u8; 4]>, Problem> {
        let mut word = [0; 4];
        let mut have = 0;
        while have < word.len() {
            match self.input.read(&mut word[have..]) {
                Ok(0) if have == 0 => return Ok(None),
                Ok(0) => return Err("it ends inside a message".into()),
                Ok(count) => have += count,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e.to_string()),
            }
        }
        self.at += 4;
        Ok(Some(word))
    }

    fn next_batch(
        &mut self,
        decoder: &mut Decoder,
    ) -> std::result::Result<Option<RecordBatch>, Problem> {
        loop {
            let at = self.at;
            let Some(message) = self.next_message(decoder.budget_bytes)? else { return Ok(None) };
            let batch = decoder
                .take(&message)
                .map_err(|problem| format!("message at byte {at}: {problem}"))?;
            if batch.is_some() {
                return Ok(batch);
            }
        }
    }
}

impl Blocks {
    fn read_footer(&mut self, budget_bytes: usize) -> std::result::Result<Decoder, Problem> {
        let length = self.input.seek(SeekFrom::End(0)).map_err(|e| e.to_string())?;
        if length < 8 + 10 {
            return Err(format!("{length} bytes are too few for an Arrow file"));
        }
        let tail = self.read_at(length - 10, 10, "the end")?;
        if &tail[4..] != MAGIC {
            return Err("it does not end with ARROW1; is it cut off?".into());
        }
        let footer_bytes = i32::from_le_bytes([tail[0], tail[1], tail[2], tail[3]]);
        let footer_bytes = u64::try_from(footer_bytes)
            .ok()
            .filter(|bytes| *bytes <= length - 10 && *bytes <= HEADER_MAX_BYTES)
            .ok_or_else(|| format!("a footer of {footer_bytes} bytes in a file of {length}"))?;
        let footer = self.read_at(length - 10 - footer_bytes, footer_bytes, "footer")?;
        let footer = root_as_footer(&footer).map_err(|e| format!("footer: {e}"))?;
        let schema = footer.schema().ok_or("footer: no schema")?;
        check_endianness(&schema)?;
        let mut decoder = Decoder::new(fb_to_schema(schema), budget_bytes);
        for block in footer.dictionaries().iter().flat_map(|blocks| blocks.iter()) {
            let message = self.read_block(block, length, budget_bytes)?;
            let decoded = decoder.take(&message);
            let batch =
                decoded.map_err(|p| format!("dictionary at byte {}: {p}", block.offset()))?;
            if batch.is_some() {
                return Err(format!("expected a dictionary at byte {}", block.offset()));
            }
        }
        self.batches = footer
            .recordBatches()
            .map(|blocks| blocks.iter().copied().collect())
            .unwrap_or_default();
        Ok(decoder)
    }

    fn read_at(
        &mut self,
        at: u64,
        count: u64,
        what: &str,
    ) -> std::result::Result<Vec<u8>, Problem> {
        self.input.seek(SeekFrom::Start(at)).map_err(|e| format!("{what}: {e}"))?;
        read_bytes(&mut self.input, count, what)
    }

    fn read_block(
        &mut self,
        block: &Block,
        length: u64,
        budget_bytes: usize,
    ) -> std::result::Result<Framed, Problem> {
        let place = format!("block at byte {}", block.offset());
        let (Ok(offset), Ok(header_bytes), Ok(body_bytes)) = (
            u64::try_from(block.offset()),
            u64::try_from(block.metaDataLength()),
            u64::try_from(block.bodyLength()),
        ) else {
            return Err(format!("{place}: a size below zero"));
        };
        let end = offset.checked_add(header_bytes).and_then(|at| at.checked_add(body_bytes));
        if end.is_none_or(|end| end > length) {
            return Err(format!("{place}: it ends beyond the file's {length} bytes"));
        }
        if body_bytes > budget_bytes as u64 || header_bytes > HEADER_MAX_BYTES {
            return Err(format!("{place}: {body_bytes} bytes; at most {budget_bytes} are read"));
        }
        let header = self.read_at(offset, header_bytes, &place)?;
        let skipped = if header.starts_with(&CONTINUATION) { 8 } else { 4 };
        let header = header.get(skipped..).ok_or_else(|| format!("{place}: no header"))?.to_vec();
        let body = read_bytes(&mut self.input, body_bytes, &place)?;
        Ok(Framed { header, body: Buffer::from_vec(body) })
    }

    fn next_batch(
        &mut self,
        decoder: &mut Decoder,
    ) -> std::result::Result<Option<RecordBatch>, Problem> {
        let length = self.input.seek(SeekFrom::End(0)).map_err(|e| e.to_string())?;
        while let Some(block) = self.batches.get(self.next).copied() {
            self.next += 1;
            let message = self.read_block(&block, length, decoder.budget_bytes)?;
            let batch = decoder
                .take(&message)
                .map_err(|problem| format!("block at byte {}: {problem}", block.offset()))?;
            if batch.is_some() {
                return Ok(batch);
            }
        }
        Ok(None)
    }
}

impl Decoder {
    fn new(schema: Schema, budget_bytes: usize) -> Self {
        Self { schema: Arc::new(schema), dictionaries: HashMap::new(), budget_bytes }
    }

    /// Decodes a message: a batch, or a dictionary, which is kept.
    fn take(&mut self, framed: &Framed) -> std::result::Result<Option<RecordBatch>, Problem> {
        let message = parse(&framed.header)?;
        let version: MetadataVersion = message.version();
        match message.header_type() {
            MessageHeader::RecordBatch => {
                let batch = message.header_as_record_batch().ok_or("no batch header")?;
                self.check(&batch, &framed.body)?;
                let decoder = RecordBatchDecoder::try_new(
                    &framed.body,
                    batch,
                    Arc::clone(&self.schema),
                    &self.dictionaries,
                    &version,
                );
                let batch = decoder
                    .and_then(RecordBatchDecoder::read_record_batch)
                    .map_err(|e| e.to_string())?;
                Ok(Some(batch))
            }
            MessageHeader::DictionaryBatch => {
                let batch = message.header_as_dictionary_batch().ok_or("no dictionary header")?;
                let data = batch.data().ok_or("a dictionary without data")?;
                self.check(&data, &framed.body)?;
                read_dictionary(
                    &framed.body,
                    batch,
                    &self.schema,
                    &mut self.dictionaries,
                    &version,
                )
                .map_err(|e| e.to_string())?;
                let held: usize =
                    self.dictionaries.values().map(|d| d.get_array_memory_size()).sum();
                if held > self.budget_bytes {
                    return Err(format!(
                        "dictionaries of {held} bytes; at most {} are held",
                        self.budget_bytes
                    ));
                }
                Ok(None)
            }
            MessageHeader::NONE => Ok(None),
            other => Err(format!("expected a record batch or a dictionary, found {other:?}")),
        }
    }

    /// Checks the lengths that a batch declares.
    fn check(&self, batch: &BatchHeader<'_>, body: &Buffer) -> std::result::Result<(), Problem> {
        let rows = |count: i64, what: &str| {
            if (0..=BATCH_ROWS_MAX).contains(&count) {
                Ok(())
            } else {
                Err(format!("{what} of {count} rows"))
            }
        };
        rows(batch.length(), "a batch")?;
        for node in batch.nodes().iter().flat_map(|nodes| nodes.iter()) {
            rows(node.length(), "a column")?;
            if !(0..=node.length()).contains(&node.null_count()) {
                return Err(format!("{} nulls among {} rows", node.null_count(), node.length()));
            }
        }
        let mut unpacked = 0_u64;
        let mut packed: Vec<(&[u8], i64)> = Vec::new();
        for buffer in batch.buffers().iter().flat_map(|buffers| buffers.iter()) {
            let (Ok(offset), Ok(length)) =
                (usize::try_from(buffer.offset()), usize::try_from(buffer.length()))
            else {
                return Err("a buffer with a negative place".into());
            };
            let end = offset.checked_add(length).filter(|end| *end <= body.len());
            let Some(end) = end else {
                return Err(format!(
                    "a buffer of {length} bytes at {offset} in a body of {}",
                    body.len()
                ));
            };
            if batch.compression().is_none() || length == 0 {
                continue;
            }
            let bytes = &body.as_slice()[offset..end];
            let declared = bytes
                .first_chunk::<8>()
                .map(|prefix| i64::from_le_bytes(*prefix))
                .ok_or("a compressed buffer without a length")?;
            // -1 means that the bytes behind it are not compressed after all.
            if declared < -1 {
                return Err(format!("a compressed buffer of {declared} bytes"));
            }
            unpacked = unpacked.saturating_add(declared.max(0) as u64);
            packed.push((&bytes[8..], declared));
        }
        if unpacked > self.budget_bytes as u64 {
            return Err(format!(
                "a batch of {unpacked} bytes unpacked; at most {} are",
                self.budget_bytes
            ));
        }
        let lz4 = batch.compression().is_some_and(|c| c.codec() == CompressionType::LZ4_FRAME);
        let most = (body.len() as u64).saturating_mul(LZ4_RATIO_MAX);
        if lz4 && most > self.budget_bytes as u64 {
            for (bytes, declared) in packed.into_iter().filter(|(_, declared)| *declared >= 0) {
                check_unpacked(Unbounded::Lz4Frame, bytes, declared as u64)?;
            }
        }
        Ok(())
    }
}
