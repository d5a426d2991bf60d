//! Transposition by blocks that stay in registers.

/// Side of a block.
const SIDE: usize = 16;

/// to[j · to_row + i] = from[i · from_row + j] for i < rows, j < cols.
///
/// # Panics
/// If a slice is too short for it.
pub fn transpose(from: &[f32], from_row: usize, rows: usize, cols: usize, to: &mut [f32], to_row: usize) {
    if rows == 0 || cols == 0 {
        return;
    }
    assert!((rows - 1) * from_row + cols <= from.len() && (cols - 1) * to_row + rows <= to.len(), "a transpose");
    let (whole_rows, whole_cols) = if wide() { (rows / SIDE * SIDE, cols / SIDE * SIDE) } else { (0, 0) };
    for i in (0..whole_rows).step_by(SIDE) {
        for j in (0..whole_cols).step_by(SIDE) {
            block(&from[i * from_row + j..], from_row, &mut to[j * to_row + i..], to_row);
        }
    }
    for i in 0..rows {
        let first = if i < whole_rows { whole_cols } else { 0 };
        for j in first..cols {
            to[j * to_row + i] = from[i * from_row + j];
        }
    }
}

/// Whether blocks have a kernel on this processor.
fn wide() -> bool {
    #[cfg(target_arch = "x86_64")]
    return std::arch::is_x86_feature_detected!("avx512f");
    #[cfg(not(target_arch = "x86_64"))]
    false
}

#[cfg(not(target_arch = "x86_64"))]
fn block(_: &[f32], _: usize, _: &mut [f32], _: usize) {}

#[cfg(target_arch = "x86_64")]
fn block(from: &[f32], from_row: usize, to: &mut [f32], to_row: usize) {
    assert!((SIDE - 1) * from_row + SIDE <= from.len() && (SIDE - 1) * to_row + SIDE <= to.len(), "a block");
    // SAFETY: the caller has asked whether AVX-512F is there; the last row of both blocks ends inside its slice.
    unsafe { block_avx512(from.as_ptr(), from_row, to.as_mut_ptr(), to_row) }
}

/// A 16 × 16 block: four rounds of exchanges at distances 1, 2, 4 and 8.
///
/// # Safety
/// The processor has AVX-512F; both blocks' rows of 16 numbers must be readable and writable.
#[cfg(target_arch = "x86_64")]
#[inline]
#[target_feature(enable = "avx512f")]
pub unsafe fn block_avx512(from: *const f32, from_row: usize, to: *mut f32, to_row: usize) {
    use std::arch::x86_64::*;

    // SAFETY: the caller's contract.
    let rows: [__m512; SIDE] = std::array::from_fn(|i| unsafe { _mm512_loadu_ps(from.add(i * from_row)) });
    // Pairs of rows by single numbers, then pairs of pairs by two numbers: each 4 × 4 corner is transposed.
    let pairs: [__m512d; SIDE] = std::array::from_fn(|i| {
        let (a, b) = (rows[i / 2 * 2], rows[i / 2 * 2 + 1]);
        _mm512_castps_pd(if i % 2 == 0 { _mm512_unpacklo_ps(a, b) } else { _mm512_unpackhi_ps(a, b) })
    });
    let quads: [__m512; SIDE] = std::array::from_fn(|i| {
        let first = i / 4 * 4 + (i % 4) / 2;
        let (a, b) = (pairs[first], pairs[first + 2]);
        _mm512_castpd_ps(if i % 2 == 0 { _mm512_unpacklo_pd(a, b) } else { _mm512_unpackhi_pd(a, b) })
    });
    // quads[4 q + c] holds in its 128-bit part l column 4 l + c of rows 4 q … 4 q + 3.
    let halves: [__m512; SIDE] = std::array::from_fn(|i| {
        let (part, c) = (i / 4, i % 4);
        let (a, b) = if part < 2 { (quads[c], quads[4 + c]) } else { (quads[8 + c], quads[12 + c]) };
        if part % 2 == 0 { _mm512_shuffle_f32x4::<0x88>(a, b) } else { _mm512_shuffle_f32x4::<0xdd>(a, b) }
    });
    for c in 0..4 {
        // Parts 0 and 2 of the columns' quarters stand in halves[c], parts 1 and 3 in halves[4 + c].
        let (even, odd) = ((halves[c], halves[8 + c]), (halves[4 + c], halves[12 + c]));
        // SAFETY: the caller's contract.
        unsafe {
            _mm512_storeu_ps(to.add(c * to_row), _mm512_shuffle_f32x4::<0x88>(even.0, even.1));
            _mm512_storeu_ps(to.add((8 + c) * to_row), _mm512_shuffle_f32x4::<0xdd>(even.0, even.1));
            _mm512_storeu_ps(to.add((4 + c) * to_row), _mm512_shuffle_f32x4::<0x88>(odd.0, odd.1));
            _mm512_storeu_ps(to.add((12 + c) * to_row), _mm512_shuffle_f32x4::<0xdd>(odd.0, odd.1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_changes_places() {
        for (rows, cols) in [(1, 1), (16, 16), (15, 17), (32, 48), (33, 50), (5, 64)] {
            let (from_row, to_row) = (cols + 3, rows + 2);
            let from: Vec<f32> = (0..rows * from_row).map(|i| i as f32).collect();
            let mut to = vec![-1.0; cols * to_row];
            transpose(&from, from_row, rows, cols, &mut to, to_row);
            for (place, &value) in to.iter().enumerate() {
                let (j, i) = (place / to_row, place % to_row);
                let expected = if i < rows { (i * from_row + j) as f32 } else { -1.0 };
                assert_eq!(value, expected, "{rows} × {cols} at {j}, {i}");
            }
        }
    }
}
