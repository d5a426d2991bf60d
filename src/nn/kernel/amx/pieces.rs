//! From f32 to bf16 pieces, in the orders in which tiles want them.
//!
//! A left operand's tile has 16 rows of 32 numbers of the inner dimension. A right operand's tile has 16 rows of
//! *pairs* of the inner dimension, one pair for each of 16 columns.

use std::arch::x86_64::*;

use super::{Line, PIECE, PIECES, SIDE};

/// The pieces of 32 numbers, largest first.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")]
fn split(low: __m512, high: __m512) -> [__m512i; PIECES] {
    let (mut low, mut high) = (low, high);
    let mut pieces = [_mm512_setzero_si512(); PIECES];
    for piece in &mut pieces {
        let rounded = first(low, high);
        *piece = rounded;
        // What rounding left over is exact in f32.
        low = _mm512_sub_ps(low, widened(_mm512_castsi512_si256(rounded)));
        high = _mm512_sub_ps(high, widened(_mm512_extracti64x4_epi64::<1>(rounded)));
    }
    pieces
}

/// 32 numbers rounded to the nearest bf16.
#[inline]
#[target_feature(enable = "avx512f,avx512bf16")]
fn first(low: __m512, high: __m512) -> __m512i {
    let rounded = _mm512_cvtne2ps_pbh(high, low);
    // SAFETY: both types are 64 bytes of any bits.
    unsafe { std::mem::transmute::<__m512bh, __m512i>(rounded) }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn widened(half: __m256i) -> __m512 {
    _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(half)))
}

/// `rows` ≤ 16 rows of 32 numbers as the left tiles of `pieces` pieces: piece p's row r goes to line
/// `p · PIECE + r` of `to`. Of the last numbers of a row only `cols` exist; the others are zero.
///
/// # Safety
/// The processor has AVX512-BF16. Row r's `cols` numbers from `from + r · stride` on must be readable, the lines
/// writable.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")]
pub unsafe fn left_tile(from: *const f32, stride: usize, rows: usize, cols: usize, pieces: usize, to: *mut Line) {
    let mask = |first: usize| match cols.saturating_sub(first) {
        more if more >= 16 => u16::MAX,
        some => (1 << some) - 1,
    };
    let masks = (mask(0), mask(16));
    for row in 0..rows {
        // SAFETY: masked lanes are not read; the rest is the caller's contract.
        unsafe {
            let from = from.add(row * stride);
            let low = _mm512_maskz_loadu_ps(masks.0, from);
            let high = _mm512_maskz_loadu_ps(masks.1, from.wrapping_add(16));
            if pieces == 1 {
                _mm512_store_si512(to.add(row).cast(), first(low, high));
                continue;
            }
            for (piece, bits) in split(low, high).into_iter().enumerate() {
                _mm512_store_si512(to.add(piece * PIECE + row).cast(), bits);
            }
        }
    }
}

/// One piece of a 32 × 32 block from a left operand's order to that of its transpose as a right operand: what were
/// rows become columns.
///
/// # Safety
/// The processor has AVX-512F; 32 lines at `from` are readable, 32 at `to` writable, and they do not overlap.
#[target_feature(enable = "avx512f")]
pub unsafe fn rows_to_columns(from: *const Line, to: *mut Line) {
    for tile in 0..2 {
        // SAFETY: the caller's contract; a line is 16 pairs.
        unsafe {
            let (from, to) = (from.add(tile * 16).cast::<f32>(), to.add(tile * 16).cast::<f32>());
            crate::nn::kernel::transpose::block_avx512(from, SIDE / 2, to, SIDE / 2);
        }
    }
}

/// One piece of a 32 × 32 block from a left operand's order to its own as a right operand: two rows become a row of
/// pairs.
///
/// # Safety
/// As [`rows_to_columns`], with AVX512-BW.
#[target_feature(enable = "avx512f,avx512bw")]
pub unsafe fn rows_to_pairs(from: *const Line, to: *mut Line) {
    // Number i of the first row, number i of the second one, for i < 16 and from 16 on.
    let pair = |first: i16| -> __m512i {
        let mut order = [0_i16; SIDE];
        for (place, order) in order.iter_mut().enumerate() {
            *order = first + (place / 2) as i16 + if place % 2 == 1 { SIDE as i16 } else { 0 };
        }
        // SAFETY: 32 numbers of 16 bits.
        unsafe { _mm512_loadu_si512(order.as_ptr().cast()) }
    };
    let (low, high) = (pair(0), pair(16));
    for row in 0..16 {
        // SAFETY: the caller's contract.
        unsafe {
            let (even, odd) =
                (_mm512_load_si512(from.add(2 * row).cast()), _mm512_load_si512(from.add(2 * row + 1).cast()));
            _mm512_store_si512(to.add(row).cast(), _mm512_permutex2var_epi16(even, low, odd));
            _mm512_store_si512(to.add(16 + row).cast(), _mm512_permutex2var_epi16(even, high, odd));
        }
    }
}
