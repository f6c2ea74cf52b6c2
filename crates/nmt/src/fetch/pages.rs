//! The pages of a column of a Parquet file, unpacked one at a time
//! (<https://github.com/apache/parquet-format>).
//!
//! The crate `parquet` decodes what a page holds. It believes what a page says about its size, and so
//! pages come from here: nothing is unpacked, and nothing handed on, that would need more memory than
//! a page may.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{BufReader, Read, Seek, SeekFrom},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use anyhow::{Context, anyhow, bail, ensure};
use flate2::read::MultiGzDecoder;
use parquet::{
    basic::{Compression, Encoding},
    column::page::{Page, PageMetadata, PageReader},
    errors::{ParquetError, Result as ParquetResult},
};
use ruzstd::decoding::StreamingDecoder;

use super::{
    pairs::FAR_MORE,
    thrift::{self, Found},
};

/// Most bytes of a page, packed or not. Writers begin a new one after about 1 MiB.
const LARGEST: u64 = 1 << 27;
/// Most entries of a dictionary.
const MOST_WORDS: u32 = 1 << 22;
/// Most values whose lengths stand before them all.
const MOST_LENGTHS: u64 = 1 << 24;
/// Most values of a column in which a row has several, in a row group.
const MOST_REPEATED: u64 = 1 << 24;

/// The pages of one column in one row group.
pub(super) struct Pages {
    file: File,
    /// Where the next page begins, and where the last one ends.
    at: u64,
    end: u64,
    codec: Compression,
    /// Whether rows may have several values, and whether values may be missing.
    repeated: bool,
    optional: bool,
    /// Values that may still come, where rows may have several.
    values: u64,
    /// Bytes that pages of the file may still unpack to.
    left: Arc<AtomicU64>,
    /// Whether the last page ended with its row, as those of the second kind do.
    whole_rows: bool,
}

/// What a page says about itself.
struct Header {
    /// What it is.
    kind: i64,
    packed: u64,
    unpacked: u64,
    /// All numbers, by the number of their field and that in it.
    numbers: BTreeMap<[i16; 2], i64>,
}

/// Fields of a header that describe each kind of page.
const DATA: i16 = 5;
const DICTIONARY: i16 = 7;
const DATA_V2: i16 = 8;

impl Pages {
    /// The pages between two places of a file.
    pub(super) fn new(
        file: File,
        [at, end]: [u64; 2],
        codec: Compression,
        [repeated, optional]: [bool; 2],
        left: Arc<AtomicU64>,
    ) -> Self {
        let values = MOST_REPEATED;
        Self { file, at, end, codec, repeated, optional, values, left, whole_rows: false }
    }

    /// The next page that holds values or a dictionary.
    fn page(&mut self) -> anyhow::Result<Option<Page>> {
        while self.at < self.end {
            let header = self.header()?;
            let mut packed = vec![0; header.packed as usize];
            self.file.seek(SeekFrom::Start(self.at))?;
            self.file.read_exact(&mut packed)?;
            self.at += header.packed;
            match header.kind {
                0 => return self.data(&header, &packed).map(Some),
                2 => return self.dictionary(&header, &packed).map(Some),
                3 => return self.data_v2(&header, &packed).map(Some),
                _ => {} // an index, which says where values are
            }
        }
        Ok(None)
    }

    /// What the next page says about itself, behind which the place is then.
    fn header(&mut self) -> anyhow::Result<Header> {
        let (mut numbers, at) = (BTreeMap::new(), self.at);
        self.file.seek(SeekFrom::Start(at))?;
        let reader = BufReader::new(&self.file).take(self.end - at);
        let taken = thrift::read(reader, &mut |path, found| {
            let number = match found {
                Found::Int(number) => number,
                Found::Bool(is) => i64::from(is),
                _ => return Ok(()),
            };
            match *path {
                [outer] => _ = numbers.insert([outer, 0], number),
                [outer, inner] => _ = numbers.insert([outer, inner], number),
                _ => {}
            }
            Ok(())
        })
        .with_context(|| format!("found no page at byte {at}"))?;
        self.at += taken;
        let number = |field| numbers.get(&[field, 0]).copied();
        let [kind, unpacked, packed] = [1, 2, 3].map(number);
        let size = |size: Option<i64>| size.and_then(|size| u64::try_from(size).ok());
        let (Some(kind), Some(unpacked), Some(packed)) = (kind, size(unpacked), size(packed))
        else {
            bail!("found a page at byte {at} that does not say how large it is");
        };
        ensure!(packed <= self.end - self.at, "found a page at byte {at} that is cut short");
        let most = packed.max(unpacked);
        ensure!(most <= LARGEST, "found a page of {most} bytes, expected at most {LARGEST}");
        let take = |left: u64| left.checked_sub(unpacked);
        let (some, same) = (Ordering::Relaxed, Ordering::Relaxed);
        self.left.fetch_update(some, same, take).map_err(|_| anyhow!(FAR_MORE))?;
        Ok(Header { kind, packed, unpacked, numbers })
    }

    /// A page of the first kind: how often and whether values are there, then the values.
    fn data(&mut self, header: &Header, packed: &[u8]) -> anyhow::Result<Page> {
        let buf = unpack(self.codec, packed, header.unpacked)?;
        let page = Page::DataPage {
            num_values: header.count(DATA, 1)?,
            encoding: header.encoding(DATA, 2)?,
            def_level_encoding: header.encoding(DATA, 3)?,
            rep_level_encoding: header.encoding(DATA, 4)?,
            statistics: None,
            buf: buf.into(),
        };
        let mut values = &page.buffer()[..];
        for _ in 0..usize::from(self.repeated) + usize::from(self.optional) {
            let Some((size, rest)) = values.split_first_chunk() else { break };
            values = rest.get(u32::from_le_bytes(*size) as usize..).unwrap_or_default();
        }
        self.check(&page, values)?;
        self.whole_rows = false;
        Ok(page)
    }

    /// A page of the second kind, in which only the values are packed.
    fn data_v2(&mut self, header: &Header, packed: &[u8]) -> anyhow::Result<Page> {
        let [def_levels_byte_len, rep_levels_byte_len] =
            [header.count(DATA_V2, 5)?, header.count(DATA_V2, 6)?];
        let levels = u64::from(def_levels_byte_len) + u64::from(rep_levels_byte_len);
        let parts =
            packed.split_at_checked(levels as usize).zip(header.unpacked.checked_sub(levels));
        let ((levels, packed), unpacked) = parts.context("found a damaged page")?;
        let is_compressed = header.numbers.get(&[DATA_V2, 7]) != Some(&0);
        let codec = if is_compressed { self.codec } else { Compression::UNCOMPRESSED };
        let values = unpack(codec, packed, unpacked)?;
        let page = Page::DataPageV2 {
            buf: [levels, &values].concat().into(),
            num_values: header.count(DATA_V2, 1)?,
            num_nulls: header.count(DATA_V2, 2)?,
            num_rows: header.count(DATA_V2, 3)?,
            encoding: header.encoding(DATA_V2, 4)?,
            def_levels_byte_len,
            rep_levels_byte_len,
            is_compressed,
            statistics: None,
        };
        self.check(&page, &values)?;
        self.whole_rows = true;
        Ok(page)
    }

    /// The texts that values are numbers of.
    fn dictionary(&self, header: &Header, packed: &[u8]) -> anyhow::Result<Page> {
        let num_values = header.count(DICTIONARY, 1)?;
        // Each text has its length before it.
        let possible = (header.unpacked / 4).min(MOST_WORDS.into());
        ensure!(
            u64::from(num_values) <= possible,
            "found a dictionary of {num_values} texts, expected at most {possible}"
        );
        Ok(Page::DictionaryPage {
            num_values,
            encoding: header.encoding(DICTIONARY, 2)?,
            is_sorted: false,
            buf: unpack(self.codec, packed, header.unpacked)?.into(),
        })
    }

    /// Makes sure that the values of a page take no more memory than the page.
    fn check(&mut self, page: &Page, values: &[u8]) -> anyhow::Result<()> {
        if self.repeated {
            let left = self.values.checked_sub(page.num_values().into());
            self.values = left.with_context(|| {
                format!("found more than {MOST_REPEATED} values that belong to rows with several")
            })?;
        }
        match page.encoding() {
            Encoding::PLAIN | Encoding::PLAIN_DICTIONARY | Encoding::RLE_DICTIONARY => Ok(()),
            Encoding::DELTA_LENGTH_BYTE_ARRAY => {
                let n = lengths(values).context("found a damaged page")?;
                let most = MOST_LENGTHS.min(page.num_values().into());
                ensure!(n <= most, "found {n} values in a page, expected at most {most}");
                Ok(())
            }
            other => bail!("found a page that is written as {other}, which is not read"),
        }
    }
}

impl Header {
    /// How many of something.
    fn count(&self, outer: i16, inner: i16) -> anyhow::Result<u32> {
        let number = self.numbers.get(&[outer, inner]).context("found an incomplete page")?;
        // The format has signed numbers.
        let number = i32::try_from(*number).ok().and_then(|number| u32::try_from(number).ok());
        number.context("found a page with an impossible number of values")
    }

    /// How something is written.
    #[expect(deprecated, reason = "the oldest files have it")]
    fn encoding(&self, outer: i16, inner: i16) -> anyhow::Result<Encoding> {
        Ok(match self.count(outer, inner)? {
            0 => Encoding::PLAIN,
            2 => Encoding::PLAIN_DICTIONARY,
            3 => Encoding::RLE,
            4 => Encoding::BIT_PACKED,
            5 => Encoding::DELTA_BINARY_PACKED,
            6 => Encoding::DELTA_LENGTH_BYTE_ARRAY,
            7 => Encoding::DELTA_BYTE_ARRAY,
            8 => Encoding::RLE_DICTIONARY,
            9 => Encoding::BYTE_STREAM_SPLIT,
            other => bail!("found a page that is written in the unknown way {other}"),
        })
    }
}

/// How many lengths stand before the values, which is the third of the numbers that they begin with.
fn lengths(mut values: &[u8]) -> Option<u64> {
    let mut number = || {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let (&byte, rest) = values.split_first()?;
            values = rest;
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(number);
            }
        }
        None
    };
    number()?;
    number()?;
    number()
}

/// Unpacks `size` bytes.
fn unpack(codec: Compression, packed: &[u8], size: u64) -> anyhow::Result<Vec<u8>> {
    if matches!(codec, Compression::LZ4 | Compression::LZO) {
        bail!("found a column that is packed with {codec}, which is not read");
    }
    if size == 0 {
        return Ok(Vec::new());
    }
    let unpacked = decode(codec, packed, size).context("found a damaged page")?;
    ensure!(unpacked.len() as u64 == size, "found a page that does not unpack to {size} bytes");
    Ok(unpacked)
}

/// Unpacks `size` bytes, or other numbers of bytes, but never many more.
fn decode(codec: Compression, packed: &[u8], size: u64) -> anyhow::Result<Vec<u8>> {
    let all = |reader: &mut dyn Read| {
        let mut unpacked = Vec::new();
        reader.take(size + 1).read_to_end(&mut unpacked)?;
        anyhow::Ok(unpacked)
    };
    Ok(match codec {
        Compression::SNAPPY => {
            let there = snap::raw::decompress_len(packed)?;
            ensure!(there as u64 == size, "found {there} bytes in a page of {size}");
            snap::raw::Decoder::new().decompress_vec(packed)?
        }
        Compression::GZIP(_) => all(&mut MultiGzDecoder::new(packed))?,
        Compression::ZSTD(_) => all(&mut StreamingDecoder::new(packed)?)?,
        Compression::BROTLI(_) => {
            all(&mut brotli_decompressor::Decompressor::new(packed, 1 << 12))?
        }
        Compression::LZ4_RAW => lz4_flex::block::decompress(packed, size as usize)?,
        _ => packed.to_vec(),
    })
}

impl Iterator for Pages {
    type Item = ParquetResult<Page>;

    fn next(&mut self) -> Option<Self::Item> {
        self.get_next_page().transpose()
    }
}

impl PageReader for Pages {
    fn get_next_page(&mut self) -> ParquetResult<Option<Page>> {
        self.page().map_err(|error| ParquetError::External(error.into()))
    }

    fn peek_next_page(&mut self) -> ParquetResult<Option<PageMetadata>> {
        Err(ParquetError::NYI("pages are read in their order".into()))
    }

    fn skip_next_page(&mut self) -> ParquetResult<()> {
        Err(ParquetError::NYI("pages are read in their order".into()))
    }

    fn at_record_boundary(&mut self) -> ParquetResult<bool> {
        Ok(self.whole_rows || self.at >= self.end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_page_unpacks_to_more_than_it_says() {
        let zeros = vec![0; 1 << 20];
        let mut gzip = flate2::read::GzEncoder::new(&zeros[..], flate2::Compression::fast());
        let mut packed = Vec::new();
        gzip.read_to_end(&mut packed).unwrap();
        let gzip = Compression::GZIP(Default::default());
        assert_eq!(unpack(gzip, &packed, 1 << 20).unwrap(), zeros);
        for size in [1, (1 << 20) - 1, (1 << 20) + 1] {
            assert!(unpack(gzip, &packed, size).is_err());
        }
        let packed = snap::raw::Encoder::new().compress_vec(&zeros).unwrap();
        assert_eq!(unpack(Compression::SNAPPY, &packed, 1 << 20).unwrap(), zeros);
        assert!(unpack(Compression::SNAPPY, &packed, 1 << 19).is_err());
        // By hand: 15 literals or more, here 15 + 3, and then the end (lz4_Block_format.md).
        let packed = [&[0xf0, 3][..], &[7; 18]].concat();
        assert_eq!(unpack(Compression::LZ4_RAW, &packed, 18).unwrap(), [7; 18]);
        assert!(unpack(Compression::LZ4_RAW, &packed, 17).is_err());
        assert!(unpack(Compression::LZ4_RAW, &packed, 19).is_err());
        assert!(unpack(Compression::LZ4, &packed, 18).is_err());
    }

    #[test]
    fn lengths_are_counted_before_they_are_read() {
        assert_eq!(lengths(&[0x80, 0x01, 4, 0xe8, 0x07, 0]), Some(1000));
        assert_eq!(lengths(&[0x80, 0x01, 4]), None);
        assert_eq!(lengths(&[0xff; 40]), None);
    }
}
