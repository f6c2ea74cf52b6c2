//! Scalars in the format that TensorBoard reads.
//!
//! A file is a sequence of records: the data's length (64 bits), a checksum of it, the data, a
//! checksum of that; all numbers little-endian, checksums CRC-32C (RFC 3720, appendix B.4),
//! rotated and shifted (`tensorflow/core/lib/io/record_writer.h`). The data is a protocol buffer
//! (`tensorflow/core/util/event.proto`, `…/framework/summary.proto`), of which this module
//! writes the four fields that scalars need.

/// The record that every file starts with: its version.
pub(crate) fn head(wall_time: f64) -> Vec<u8> {
    let mut event = Message::default();
    event.double(event::WALL_TIME, wall_time);
    event.bytes(event::FILE_VERSION, b"brain.Event:2");
    record(&event.0)
}

/// A record with the values of some tags at `step`.
pub(crate) fn scalars(wall_time: f64, step: u64, values: &[(&str, f64)]) -> Vec<u8> {
    let mut summary = Message::default();
    for (tag, value) in values {
        let mut entry = Message::default();
        entry.bytes(value::TAG, tag.as_bytes());
        entry.float(value::SIMPLE_VALUE, *value as f32);
        summary.bytes(SUMMARY_VALUE, &entry.0);
    }
    let mut event = Message::default();
    event.double(event::WALL_TIME, wall_time);
    event.integer(event::STEP, step);
    event.bytes(event::SUMMARY, &summary.0);
    record(&event.0)
}

/// Field numbers of `Event`.
mod event {
    pub(super) const WALL_TIME: u64 = 1;
    pub(super) const STEP: u64 = 2;
    pub(super) const FILE_VERSION: u64 = 3;
    pub(super) const SUMMARY: u64 = 5;
}

/// Field numbers of `Summary.Value`.
mod value {
    pub(super) const TAG: u64 = 1;
    pub(super) const SIMPLE_VALUE: u64 = 2;
}

/// Field number of `Summary.value`.
const SUMMARY_VALUE: u64 = 1;

/// A protocol buffer: each field is its number and wire type, then its value.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    fn varint(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.0.push(number as u8 | 0x80);
            number >>= 7;
        }
        self.0.push(number as u8);
    }

    fn integer(&mut self, field: u64, value: u64) {
        self.varint(field << 3);
        self.varint(value);
    }

    fn double(&mut self, field: u64, value: f64) {
        self.varint(field << 3 | 1);
        self.0.extend(value.to_le_bytes());
    }

    fn float(&mut self, field: u64, value: f32) {
        self.varint(field << 3 | 5);
        self.0.extend(value.to_le_bytes());
    }

    fn bytes(&mut self, field: u64, value: &[u8]) {
        self.varint(field << 3 | 2);
        self.varint(value.len() as u64);
        self.0.extend(value);
    }
}

fn record(data: &[u8]) -> Vec<u8> {
    let length = (data.len() as u64).to_le_bytes();
    let mut record = Vec::with_capacity(data.len() + 16);
    record.extend(length);
    record.extend(masked(crc32c(&length)).to_le_bytes());
    record.extend(data);
    record.extend(masked(crc32c(data)).to_le_bytes());
    record
}

/// A checksum that is safe to store among the data it covers.
fn masked(crc: u32) -> u32 {
    crc.rotate_right(15).wrapping_add(0xa282_ead8)
}

/// CRC-32C, bit by bit: a run writes some hundred bytes a second at most.
fn crc32c(data: &[u8]) -> u32 {
    /// Castagnoli's polynomial, lowest bit first.
    const POLYNOMIAL: u32 = 0x82f6_3b78;
    !data.iter().fold(!0u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            if crc & 1 == 1 { crc >> 1 ^ POLYNOMIAL } else { crc >> 1 }
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 3720, appendix B.4.
    #[test]
    fn the_checksum_agrees_with_the_published_vectors() {
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(crc32c(&[0xff; 32]), 0x62a8_ab43);
        let ascending: Vec<u8> = (0..32).collect();
        assert_eq!(crc32c(&ascending), 0x46dd_794e);
    }

    #[test]
    fn a_scalar_is_the_bytes_one_would_write_by_hand() {
        let bytes = scalars(1.0, 300, &[("a", 0.5)]);
        #[rustfmt::skip]
        let event = [
            0x09, 0, 0, 0, 0, 0, 0, 0xf0, 0x3f, // field 1, 64 bits: 1.0
            0x10, 0xac, 0x02,                   // field 2, varint: 300 = 0b10_0101100
            0x2a, 0x0a,                         // field 5, ten bytes: the summary
            0x0a, 0x08,                         //   field 1, eight bytes: a value
            0x0a, 0x01, b'a',                   //     field 1, one byte: its tag
            0x15, 0, 0, 0, 0x3f,                //     field 2, 32 bits: 0.5
        ];
        assert_eq!(bytes[..8], [event.len() as u8, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(bytes[12..12 + event.len()], event);
        assert_eq!(bytes.len(), 12 + event.len() + 4);
    }

    /// Reads records back: what a reader of the format checks.
    fn read(mut bytes: &[u8]) -> Vec<Vec<u8>> {
        let mut records = Vec::new();
        while !bytes.is_empty() {
            let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
            let length = word(0) as usize;
            let unmask = |crc: u32| crc.wrapping_sub(0xa282_ead8).rotate_left(15);
            assert_eq!(unmask(word(8)), crc32c(&bytes[..8]));
            let data = &bytes[12..12 + length];
            assert_eq!(unmask(word(12 + length)), crc32c(data));
            records.push(data.to_vec());
            bytes = &bytes[16 + length..];
        }
        records
    }

    #[test]
    fn records_follow_each_other_and_pass_their_checksums() {
        let mut bytes = head(1.5);
        bytes.extend(scalars(2.5, 1 << 40, &[("train/loss", 3.25), ("valid/bleu", 12.0)]));
        let records = read(&bytes);
        assert_eq!(records.len(), 2);
        assert!(records[0].ends_with(b"\x1a\x0dbrain.Event:2"));
        let text = |needle: &[u8]| records[1].windows(needle.len()).any(|part| part == needle);
        assert!(text(b"train/loss") && text(&3.25f32.to_le_bytes()) && text(b"valid/bleu"));
    }
}
