//! Weights as files of quantised models store them: blocks of numbers that share a scale. Each kind is ggml's, with its
//! numbers to the last bit.

mod super_blocks;
#[cfg(test)]
mod tests;

use std::ops::Range;
use std::sync::Arc;

use half::f16;

use super::kernel::vectorised;

/// Bytes wherever they are: in memory, or in a file that nobody changes.
pub type Bytes = Arc<dyn AsRef<[u8]> + Send + Sync>;

/// Rows of a weight as their file has them.
#[derive(Clone)]
pub struct StoredRows {
    pub kind: Stored,
    pub rows: usize,
    pub bytes: Bytes,
}

impl StoredRows {
    /// The bytes of one row's numbers from `first` on, which begin a block; `width` numbers each row.
    pub(super) fn part(&self, row: usize, width: usize, first: usize, numbers: usize) -> &[u8] {
        let bytes = |numbers: usize| numbers / self.kind.numbers() * self.kind.bytes();
        &(*self.bytes).as_ref()[row * bytes(width) + bytes(first)..][..bytes(numbers)]
    }
}

impl std::fmt::Debug for StoredRows {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "StoredRows({} of {:?})", self.rows, self.kind)
    }
}

/// Some numbers of some rows of a weight whose `parts` stand one below the other, `width` numbers each row: those of
/// `numbers`, which begin a block, go to `lines`, a row every `stride`.
pub(super) fn read_lines(
    parts: &[StoredRows],
    width: usize,
    rows: Range<usize>,
    numbers: Range<usize>,
    (lines, stride): (&mut [f32], usize),
) {
    let (mut row, mut part) = (rows.start, 0);
    for line in lines.chunks_mut(stride).take(rows.len()) {
        while parts[part].rows <= row {
            (row, part) = (row - parts[part].rows, part + 1);
        }
        let from = parts[part].part(row, width, numbers.start, numbers.len());
        parts[part].kind.widen(from, &mut line[..numbers.len()]);
        row += 1;
    }
}

/// What the bytes of a row mean. A row is whole blocks; f32 and the kinds of half precision are blocks of one number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stored {
    F32,
    F16,
    Bf16,
    Q4_0,
    Q4_1,
    Q5_0,
    Q5_1,
    Q8_0,
    Q2K,
    Q3K,
    Q4K,
    Q5K,
    Q6K,
}

/// Numbers of a block that has one scale.
const SMALL: usize = 32;
/// Numbers of a block whose parts have scales of their own.
pub(super) const SUPER: usize = 256;

impl Stored {
    /// Numbers of a block.
    pub const fn numbers(self) -> usize {
        match self {
            Self::F32 | Self::F16 | Self::Bf16 => 1,
            Self::Q4_0 | Self::Q4_1 | Self::Q5_0 | Self::Q5_1 | Self::Q8_0 => SMALL,
            Self::Q2K | Self::Q3K | Self::Q4K | Self::Q5K | Self::Q6K => SUPER,
        }
    }

    /// Bytes of a block.
    pub const fn bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::Bf16 => 2,
            Self::Q4_0 => 18,
            Self::Q4_1 => 20,
            Self::Q5_0 => 22,
            Self::Q5_1 => 24,
            Self::Q8_0 => 34,
            Self::Q2K => 84,
            Self::Q3K => 110,
            Self::Q4K => 144,
            Self::Q5K => 176,
            Self::Q6K => 210,
        }
    }

    /// Bytes of `numbers` numbers; `None` where these are no whole blocks, or too many.
    pub fn size(self, numbers: usize) -> Option<usize> {
        numbers.is_multiple_of(self.numbers()).then(|| (numbers / self.numbers()).checked_mul(self.bytes()))?
    }

    /// Whether numbers share scales, so that those of a layer are read together.
    pub fn quantised(self) -> bool {
        self.numbers() > 1
    }

    /// The numbers of whole blocks.
    ///
    /// # Panics
    /// If `to` has not as many numbers as the blocks.
    pub fn widen(self, blocks: &[u8], to: &mut [f32]) {
        assert_eq!(self.size(to.len()), Some(blocks.len()), "blocks and room for their numbers");
        match self {
            Self::F32 => each(blocks, to, f32_),
            Self::F16 => each(blocks, to, f16_),
            Self::Bf16 => each(blocks, to, bf16_),
            Self::Q4_0 => each(blocks, to, q4_0),
            Self::Q4_1 => each(blocks, to, q4_1),
            Self::Q5_0 => each(blocks, to, q5_0),
            Self::Q5_1 => each(blocks, to, q5_1),
            Self::Q8_0 => each(blocks, to, q8_0),
            Self::Q2K => each(blocks, to, super_blocks::q2_k),
            Self::Q3K => each(blocks, to, super_blocks::q3_k),
            Self::Q4K => each(blocks, to, super_blocks::q4_k),
            Self::Q5K => each(blocks, to, super_blocks::q5_k),
            Self::Q6K => each(blocks, to, super_blocks::q6_k),
        }
    }
}

/// Calls `read` with every block and the place of its numbers, compiled for the widest vectors of this processor.
fn each<const BYTES: usize, const NUMBERS: usize>(
    blocks: &[u8],
    to: &mut [f32],
    read: impl Fn(&[u8; BYTES], &mut [f32; NUMBERS]),
) {
    vectorised(
        #[inline(always)]
        || {
            for (block, to) in blocks.as_chunks::<BYTES>().0.iter().zip(to.as_chunks_mut::<NUMBERS>().0) {
                read(block, to);
            }
        },
    );
}

/// A scale of a block.
#[inline(always)]
fn scale(bytes: [u8; 2]) -> f32 {
    f16::from_le_bytes(bytes).to_f32()
}

#[inline(always)]
fn f32_(bytes: &[u8; 4], to: &mut [f32; 1]) {
    to[0] = f32::from_le_bytes(*bytes);
}

#[inline(always)]
fn f16_(bytes: &[u8; 2], to: &mut [f32; 1]) {
    to[0] = scale(*bytes);
}

#[inline(always)]
fn bf16_(bytes: &[u8; 2], to: &mut [f32; 1]) {
    to[0] = f32::from_bits(u32::from(u16::from_le_bytes(*bytes)) << 16);
}

/// The scale, and 16 bytes with a number of the first half below one of the second.
#[inline(always)]
fn q4_0(block: &[u8; 18], to: &mut [f32; SMALL]) {
    let d = scale([block[0], block[1]]);
    for at in 0..SMALL / 2 {
        let byte = block[2 + at];
        to[at] = f32::from(i16::from(byte & 15) - 8) * d;
        to[at + SMALL / 2] = f32::from(i16::from(byte >> 4) - 8) * d;
    }
}

/// The same with the least number in place of −8 scales.
#[inline(always)]
fn q4_1(block: &[u8; 20], to: &mut [f32; SMALL]) {
    let (d, least) = (scale([block[0], block[1]]), scale([block[2], block[3]]));
    for at in 0..SMALL / 2 {
        let byte = block[4 + at];
        to[at] = f32::from(byte & 15) * d + least;
        to[at + SMALL / 2] = f32::from(byte >> 4) * d + least;
    }
}

/// A number of five bits, whose highest stand together behind the scales.
#[inline(always)]
fn five(low: u8, high: u32, at: usize) -> i16 {
    i16::from(low) | (i16::from((high >> at) & 1 == 1) << 4)
}

#[inline(always)]
fn q5_0(block: &[u8; 22], to: &mut [f32; SMALL]) {
    let d = scale([block[0], block[1]]);
    let high = u32::from_le_bytes([block[2], block[3], block[4], block[5]]);
    for at in 0..SMALL / 2 {
        let byte = block[6 + at];
        to[at] = f32::from(five(byte & 15, high, at) - 16) * d;
        to[at + SMALL / 2] = f32::from(five(byte >> 4, high, at + SMALL / 2) - 16) * d;
    }
}

#[inline(always)]
fn q5_1(block: &[u8; 24], to: &mut [f32; SMALL]) {
    let (d, least) = (scale([block[0], block[1]]), scale([block[2], block[3]]));
    let high = u32::from_le_bytes([block[4], block[5], block[6], block[7]]);
    for at in 0..SMALL / 2 {
        let byte = block[8 + at];
        to[at] = f32::from(five(byte & 15, high, at)) * d + least;
        to[at + SMALL / 2] = f32::from(five(byte >> 4, high, at + SMALL / 2)) * d + least;
    }
}

#[inline(always)]
fn q8_0(block: &[u8; 34], to: &mut [f32; SMALL]) {
    let d = scale([block[0], block[1]]);
    for at in 0..SMALL {
        to[at] = f32::from(block[2 + at].cast_signed()) * d;
    }
}
