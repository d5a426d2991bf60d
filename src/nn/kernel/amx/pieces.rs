//! From f32 to bf16 pieces, in the orders in which tiles want them.
//!
//! A left operand's tile has 16 rows of 32 numbers of the inner dimension. A right operand's tile has 16 rows of
//! *pairs* of the inner dimension, one pair for each of 16 columns.

use std::arch::x86_64::*;

use super::{Line, PIECE, PIECES, SIDE};
use crate::nn::Narrow;
use crate::nn::kernel::panels::{NarrowRow, PanelRow};

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
            for (piece, bits) in split(low, high).into_iter().enumerate().take(pieces) {
                _mm512_store_si512(to.add(piece * PIECE + row).cast(), bits);
            }
        }
    }
}

/// A block of up to 32 rows of 32 columns as a right operand's `pieces` pieces, the smallest first: what is missing of
/// the rows is zero.
#[target_feature(enable = "avx512f,avx512bw")]
pub fn right_tiles(block: &[PanelRow], pieces: usize, to: &mut [Line]) {
    assert!(block.len() <= SIDE && to.len() == pieces * PIECE, "a block and its pieces");
    let zero = PanelRow([0.0; SIDE]);
    for pair in 0..SIDE / 2 {
        let row = |index: usize| block.get(index).unwrap_or(&zero).0.as_ptr();
        let (even, odd) = (row(2 * pair), row(2 * pair + 1));
        for tile in 0..2 {
            // SAFETY: a row is 32 numbers; the lines are inside `to`, whose length was checked.
            unsafe {
                let pieces_of = pairs(_mm512_load_ps(even.add(tile * 16)), _mm512_load_ps(odd.add(tile * 16)));
                let to = to.as_mut_ptr().add(tile * 16 + pair);
                for (piece, bits) in pieces_of.into_iter().enumerate().take(pieces) {
                    _mm512_store_si512(to.add((pieces - 1 - piece) * PIECE).cast(), bits);
                }
            }
        }
    }
}

/// A block of bf16 as a right operand's one piece: [`right_tiles`] without anything to cut.
#[target_feature(enable = "avx512f")]
pub fn right_tiles_of_bf16(block: &[NarrowRow], to: &mut [Line]) {
    assert!(block.len() <= SIDE && to.len() == PIECE, "a block and its piece");
    let zero = NarrowRow([0; SIDE]);
    for pair in 0..SIDE / 2 {
        let row = |index: usize| block.get(index).unwrap_or(&zero).0.as_ptr();
        let (even, odd) = (row(2 * pair), row(2 * pair + 1));
        for tile in 0..2 {
            // SAFETY: a row is 32 numbers; the lines are inside `to`, whose length was checked.
            unsafe {
                let widened = |row: *const u16| _mm512_cvtepu16_epi32(_mm256_load_si256(row.add(tile * 16).cast()));
                let pairs = _mm512_or_si512(widened(even), _mm512_slli_epi32::<16>(widened(odd)));
                _mm512_store_si512(to.as_mut_ptr().add(tile * 16 + pair).cast(), pairs);
            }
        }
    }
}

/// A block of numbers of two bytes in f32: as many rows of `to` as it has.
#[target_feature(enable = "avx512f")]
pub fn widen(kind: Narrow, block: &[NarrowRow], to: &mut [PanelRow; SIDE]) {
    for (row, to) in block.iter().zip(to) {
        for half in 0..2 {
            // SAFETY: halves of rows of 32 numbers.
            unsafe {
                let bits = _mm256_load_si256(row.0.as_ptr().add(half * 16).cast());
                let wide = match kind {
                    Narrow::Bf16 => widened(bits),
                    Narrow::F16 => _mm512_cvtph_ps(bits),
                };
                _mm512_store_ps(to.0.as_mut_ptr().add(half * 16), wide);
            }
        }
    }
}

/// The pieces, largest first, of two rows of 16 numbers as 16 pairs.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn pairs(even: __m512, odd: __m512) -> [__m512i; PIECES] {
    let upper = _mm512_set1_epi32(0xffff_0000_u32.cast_signed());
    let half = _mm512_set1_epi32(0x8000);
    // The nearest bf16, halves away from zero; what is left of a number is exact, and fits the pieces after it.
    let nearest = |x: __m512| _mm512_and_si512(_mm512_add_epi32(_mm512_castps_si512(x), half), upper);
    let rest = |x: __m512, piece: __m512i| _mm512_sub_ps(x, _mm512_castsi512_ps(piece));
    let (even_1, odd_1) = (nearest(even), nearest(odd));
    let (even, odd) = (rest(even, even_1), rest(odd, odd_1));
    let (even_2, odd_2) = (nearest(even), nearest(odd));
    let (even, odd) = (rest(even, even_2), rest(odd, odd_2));
    [
        upper_halves(even_1, odd_1),
        upper_halves(even_2, odd_2),
        upper_halves(_mm512_castps_si512(even), _mm512_castps_si512(odd)),
    ]
}

/// The upper halves of `even`'s numbers below those of `odd`'s. Written out: the compiler makes one permutation of it,
/// which takes longer than both.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn upper_halves(even: __m512i, odd: __m512i) -> __m512i {
    const ODD: u32 = 0xaaaa_aaaa;
    let both: __m512i;
    // SAFETY: instructions on registers.
    unsafe {
        std::arch::asm!(
            "vpsrld {both}, {even}, 16",
            "vmovdqu16 {both}{{{mask}}}, {odd}",
            both = out(zmm_reg) both,
            even = in(zmm_reg) even,
            odd = in(zmm_reg) odd,
            mask = in(kreg) ODD,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    both
}
