//! How much a compressed part really unpacks to, where the decoder would go on as long as there is output.
//!
//! Some codecs of the Arrow and Parquet crates stop at the size that the file declares; those of gzip, brotli
//! and LZ4 frames do not, so a few bytes could fill the memory. Where the format's best ratio makes that
//! possible, the part is unpacked here once into nothing, up to the size it declared.

use std::io::{self, Read};

/// Largest ratio of deflate: 258 bytes from 2 bits (RFC 1951).
pub(super) const GZIP_RATIO_MAX: u64 = 1_032;
/// Largest ratio of LZ4: 255 bytes from one.
pub(super) const LZ4_RATIO_MAX: u64 = 255;
const BUFFER_BYTES: usize = 64 * 1024;

/// A codec that does not stop by itself.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Unbounded {
    Gzip,
    Brotli,
    Lz4Frame,
}

/// Fails when `packed` unpacks to more than `declared_bytes`. An error of the codec is left to the decoder.
pub(super) fn check_unpacked(
    codec: Unbounded,
    packed: &[u8],
    declared_bytes: u64,
) -> Result<(), String> {
    let more = match codec {
        Unbounded::Gzip => exceeds(flate2::read::MultiGzDecoder::new(packed), declared_bytes),
        Unbounded::Brotli => {
            exceeds(brotli::Decompressor::new(packed, BUFFER_BYTES), declared_bytes)
        }
        Unbounded::Lz4Frame => exceeds(lz4_flex::frame::FrameDecoder::new(packed), declared_bytes),
    };
    if more {
        return Err(format!("it unpacks to more than the {declared_bytes} bytes that it declares"));
    }
    Ok(())
}

fn exceeds(mut unpacked: impl Read, limit_bytes: u64) -> bool {
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut total = 0_u64;
    loop {
        match unpacked.read(&mut buffer) {
            Ok(0) => return false,
            Ok(count) => total += count as u64,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return false,
        }
        if total > limit_bytes {
            return true;
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::io::Write;

    use super::*;

    #[test]
    fn a_bomb_is_found_and_an_honest_part_is_not() {
        let zeros = vec![0_u8; 1_000_000];
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        gzip.write_all(&zeros).unwrap();
        let gzip = gzip.finish().unwrap();
        let mut brotli_bytes = Vec::new();
        brotli::CompressorWriter::new(&mut brotli_bytes, 4_096, 5, 20).write_all(&zeros).unwrap();
        let mut lz4 = lz4_flex::frame::FrameEncoder::new(Vec::new());
        lz4.write_all(&zeros).unwrap();
        let lz4 = lz4.finish().unwrap();
        for (codec, packed) in
            [(Unbounded::Gzip, gzip), (Unbounded::Brotli, brotli_bytes), (Unbounded::Lz4Frame, lz4)]
        {
            assert!(packed.len() < 10_000, "{codec:?}");
            assert_eq!(check_unpacked(codec, &packed, 1_000_000), Ok(()), "{codec:?}");
            assert!(check_unpacked(codec, &packed, 999_999).is_err(), "{codec:?}");
            assert_eq!(check_unpacked(codec, b"not packed at all", 5), Ok(()), "{codec:?}");
        }
    }
}
