//! Blocks of 256 numbers (ggml's k-quants): parts of 16 or 32 numbers have small scales, multiplied with the block's.

use super::{SUPER, scale};

/// Numbers that are unpacked together.
const HALF: usize = SUPER / 2;

#[inline(always)]
fn pair(block: &[u8], at: usize) -> f32 {
    scale([block[at], block[at + 1]])
}

/// 16 pairs of scale and least number of four bits each, 64 bytes with four numbers each, and the two scales of both.
#[inline(always)]
pub fn q2_k(block: &[u8; 84], to: &mut [f32; SUPER]) {
    let (d, least) = (pair(block, 80), pair(block, 82));
    for part in 0..SUPER / 16 {
        let (d, least) = (d * f32::from(block[part] & 15), least * f32::from(block[part] >> 4));
        // Of each 128 numbers, 32 stand in the same bits of 32 bytes.
        let (half, shift) = (part / 8, part % 8 / 2 * 2);
        let first = 16 + half * 32 + part % 2 * 16;
        for at in 0..16 {
            to[part * 16 + at] = d * f32::from((block[first + at] >> shift) & 3) - least;
        }
    }
}

/// The 16 scales of six bits: the lower four of two in a byte, then the upper two of four in a byte.
#[inline(always)]
fn six_bits(packed: &[u8], part: usize) -> i16 {
    let low = if part < 8 { packed[part] & 15 } else { packed[part - 8] >> 4 };
    let high = (packed[8 + part % 4] >> (part / 4 * 2)) & 3;
    i16::from(low | high << 4) - 32
}

/// 32 bytes with the third bit of every number, 64 with two of four numbers each, 12 of scales, and the block's.
#[inline(always)]
pub fn q3_k(block: &[u8; 110], to: &mut [f32; SUPER]) {
    let d = pair(block, 108);
    for part in 0..SUPER / 16 {
        let d = d * f32::from(six_bits(&block[96..108], part));
        let (half, quarter) = (part / 8, part % 8 / 2);
        let (first, bit) = (part % 2 * 16, half * 4 + quarter);
        for at in first..first + 16 {
            let low = i16::from((block[32 + half * 32 + at] >> (quarter * 2)) & 3);
            let high = if (block[at] >> bit) & 1 == 1 { 0 } else { 4 };
            to[part * 16 + at - first] = d * f32::from(low - high);
        }
    }
}

/// Scale and least number of one of eight parts, six bits each in twelve bytes.
#[inline(always)]
fn scales(packed: &[u8], part: usize) -> (f32, f32) {
    let (d, least) = match part < 4 {
        true => (packed[part] & 63, packed[part + 4] & 63),
        false => {
            let both = packed[part + 4];
            ((both & 15) | (packed[part - 4] >> 6 << 4), (both >> 4) | (packed[part] >> 6 << 4))
        }
    };
    (f32::from(d), f32::from(least))
}

/// The block's two scales, 12 bytes of the parts', and 128 bytes with a number of one part below one of the next.
#[inline(always)]
pub fn q4_k(block: &[u8; 144], to: &mut [f32; SUPER]) {
    let (d, least) = (pair(block, 0), pair(block, 2));
    for two in 0..4 {
        let parts = [0, 1].map(|part| scales(&block[4..16], 2 * two + part));
        let [(d_1, least_1), (d_2, least_2)] = parts.map(|(own, own_least)| (d * own, least * own_least));
        for at in 0..32 {
            let byte = block[16 + two * 32 + at];
            to[two * 64 + at] = d_1 * f32::from(byte & 15) - least_1;
            to[two * 64 + 32 + at] = d_2 * f32::from(byte >> 4) - least_2;
        }
    }
}

/// The same with 32 bytes of every number's fifth bit before the others.
#[inline(always)]
pub fn q5_k(block: &[u8; 176], to: &mut [f32; SUPER]) {
    let (d, least) = (pair(block, 0), pair(block, 2));
    for two in 0..4 {
        let parts = [0, 1].map(|part| scales(&block[4..16], 2 * two + part));
        let [(d_1, least_1), (d_2, least_2)] = parts.map(|(own, own_least)| (d * own, least * own_least));
        for at in 0..32 {
            let (high, byte) = (block[16 + at] >> (2 * two), block[48 + two * 32 + at]);
            to[two * 64 + at] = d_1 * f32::from((byte & 15) + (high & 1) * 16) - least_1;
            to[two * 64 + 32 + at] = d_2 * f32::from((byte >> 4) + (high >> 1 & 1) * 16) - least_2;
        }
    }
}

/// 128 bytes with four bits of two numbers each, 64 with two bits of four, 16 scales and the block's.
#[inline(always)]
pub fn q6_k(block: &[u8; 210], to: &mut [f32; SUPER]) {
    let d = pair(block, 208);
    for half in 0..2 {
        let (low, high) = (&block[half * 64..][..64], &block[128 + half * 32..][..32]);
        for quarter in 0..4 {
            for sixteen in 0..2 {
                let own = block[192 + half * 8 + quarter * 2 + sixteen].cast_signed();
                let d = d * f32::from(own);
                for at in sixteen * 16..sixteen * 16 + 16 {
                    let byte = low[quarter % 2 * 32 + at];
                    let four = if quarter < 2 { byte & 15 } else { byte >> 4 };
                    let number = i16::from(four | ((high[at] >> (quarter * 2)) & 3) << 4) - 32;
                    to[half * HALF + quarter * 32 + at] = d * f32::from(number);
                }
            }
        }
    }
}
