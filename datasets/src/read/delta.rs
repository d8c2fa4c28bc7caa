//! The lengths that delta-encoded Parquet pages of texts declare, read before the decoder reserves for them.
//!
//! `DELTA_LENGTH_BYTE_ARRAY` holds lengths and then bytes; `DELTA_BYTE_ARRAY` holds for each value how much of
//! the value before it it repeats, and then the rest as above, so that a small page can stand for very long
//! values. Lengths are DELTA_BINARY_PACKED
//! (<https://parquet.apache.org/docs/file-format/data-pages/encodings/>).

/// Longest value and all bytes of a page once decoded.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Lengths {
    pub(super) longest_bytes: u64,
    pub(super) total_bytes: u64,
}

/// Measures the values of a DELTA_LENGTH_BYTE_ARRAY page of at most `values_max` values.
pub(super) fn delta_length(data: &[u8], values_max: usize) -> Result<Lengths, String> {
    let (lengths, _) = unpack(data, 0, values_max)?;
    measure(lengths.into_iter())
}

/// Measures the values of a DELTA_BYTE_ARRAY page of at most `values_max` values.
pub(super) fn delta_byte_array(data: &[u8], values_max: usize) -> Result<Lengths, String> {
    let (prefixes, end) = unpack(data, 0, values_max)?;
    let (suffixes, _) = unpack(data, end, values_max)?;
    if prefixes.len() != suffixes.len() {
        return Err(format!("{} prefixes and {} suffixes", prefixes.len(), suffixes.len()));
    }
    measure(
        prefixes
            .into_iter()
            .zip(suffixes)
            .map(|(p, s)| if p < 0 { p } else { p.saturating_add(s) }),
    )
}

fn measure(lengths: impl Iterator<Item = i32>) -> Result<Lengths, String> {
    let mut measured = Lengths::default();
    for length in lengths {
        let length = u64::try_from(length).map_err(|_| format!("a value of {length} bytes"))?;
        measured.longest_bytes = measured.longest_bytes.max(length);
        measured.total_bytes += length;
    }
    Ok(measured)
}

/// Reads DELTA_BINARY_PACKED 32-bit integers from byte `at` on; the values, and where they end.
fn unpack(data: &[u8], at: usize, values_max: usize) -> Result<(Vec<i32>, usize), String> {
    let mut bits = Bits { data, at };
    let block_size = bits.varint()?;
    let miniblocks = bits.varint()?;
    let count = bits.varint()?;
    let first = bits.zigzag()?;
    if count > values_max as u64 {
        return Err(format!("{count} lengths are declared for {values_max} values"));
    }
    // Writers use 128 and 4; far larger blocks only serve to make readers reserve for them.
    if miniblocks == 0 || miniblocks > 512 || block_size > 65_536 || block_size % miniblocks != 0 {
        return Err(format!("blocks of {block_size} lengths in {miniblocks} parts"));
    }
    let per_miniblock = (block_size / miniblocks) as usize;
    let mut values = Vec::with_capacity(count as usize);
    let mut value = first as i32;
    if count > 0 {
        values.push(value);
    }
    while values.len() < count as usize {
        let min_delta = bits.zigzag()?;
        let widths = bits.bytes(miniblocks as usize)?.to_vec();
        for width in widths {
            if values.len() >= count as usize {
                break;
            }
            let width = usize::from(width);
            if width > 32 {
                return Err(format!("lengths of {width} bits"));
            }
            let packed = bits.bytes_at_most((width * per_miniblock).div_ceil(8));
            for index in 0..per_miniblock.min(count as usize - values.len()) {
                let delta = unpack_bits(packed, index * width, width);
                value = value.wrapping_add(min_delta as i32).wrapping_add(delta as i32);
                values.push(value);
            }
        }
    }
    Ok((values, bits.at))
}

fn unpack_bits(packed: &[u8], from: usize, width: usize) -> u32 {
    (0..width).fold(0, |value, bit| {
        let at = from + bit;
        let byte = packed.get(at / 8).copied().unwrap_or_default();
        value | u32::from(byte >> (at % 8) & 1) << bit
    })
}

struct Bits<'a> {
    data: &'a [u8],
    at: usize,
}

impl<'a> Bits<'a> {
    fn varint(&mut self) -> Result<u64, String> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = *self.data.get(self.at).ok_or("the lengths end early")?;
            self.at += 1;
            value |= u64::from(byte & 0x7F) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err("a number is longer than 64 bits".into())
    }

    fn zigzag(&mut self) -> Result<i64, String> {
        let value = self.varint()?;
        Ok((value >> 1) as i64 ^ -((value & 1) as i64))
    }

    fn bytes(&mut self, count: usize) -> Result<&'a [u8], String> {
        let bytes =
            self.data.get(self.at..self.at.saturating_add(count)).ok_or("the lengths end early")?;
        self.at += count;
        Ok(bytes)
    }

    /// The last miniblock may be cut short.
    fn bytes_at_most(&mut self, count: usize) -> &'a [u8] {
        let end = self.at.saturating_add(count).min(self.data.len());
        let bytes = self.data.get(self.at..end).unwrap_or_default();
        self.at = end;
        bytes
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn declared_counts_are_bounded() {
        // Block size 128, 4 parts, 2^35 values, first 0: enough for a reservation of 128 GiB.
        let bomb = [0x80, 0x01, 0x04, 0x80, 0x80, 0x80, 0x80, 0x80, 0x01, 0x00];
        assert!(delta_length(&bomb, 1_000).unwrap_err().contains("34359738368 lengths"));
        // The same, with a count that fits, and lengths 3, 3, 3 (all deltas 0).
        let honest = [0x80, 0x01, 0x04, 0x03, 0x06, 0x00, 0, 0, 0, 0];
        assert_eq!(delta_length(&honest, 3), Ok(Lengths { longest_bytes: 3, total_bytes: 9 }));
        assert!(delta_length(&honest[..7], 3).is_err());
    }

    #[test]
    fn deltas_are_unpacked() {
        // Values 7, 5, 3, 1, 2, 3, 4, 5 of the format's own example: block 8, 1 part.
        let packed = [0x08, 0x01, 0x08, 0x0E, 0x03, 0x02, 0b1100_0000, 0b0011_1111];
        assert_eq!(unpack(&packed, 0, 8).unwrap(), (vec![7, 5, 3, 1, 2, 3, 4, 5], 8));
    }
}
