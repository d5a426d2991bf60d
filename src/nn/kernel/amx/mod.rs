//! Products on a processor's matrix unit (AMX), which multiplies in bf16 and adds in f32.
//!
//! An f32 has 24 significant bits and a bf16 has 8, so every f32 is exactly the sum of three bf16 [`pieces`]. Six of
//! the nine products of pieces keep an error of the size of f32's own rounding (the other three are 2⁻²⁴ of the
//! result and below), and six products here take less time than one in f32 does on the vector units. The first pieces
//! alone are an ordinary bf16 product.
//!
//! `block` holds the innermost loop, `weight` the layout of a frozen weight, `product` deals work out to threads.

mod block;
mod pieces;
mod product;
#[cfg(test)]
mod tests;
mod weight;

use std::marker::PhantomData;
use std::sync::OnceLock;

pub use product::{product, product_transposed};
pub use weight::Weight;

/// Rows and columns of a block of the result, and steps of the inner dimension that are multiplied at once: two tiles
/// of 16 either way, and 32 numbers a tile's row.
const SIDE: usize = 32;

/// A cache line: a row of a tile.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
struct Line([u16; SIDE]);

impl Line {
    const ZERO: Self = Self([0; SIDE]);
}

/// Lines of one piece of a 32 × 32 block: two tiles of 16.
const PIECE: usize = SIDE;
/// Pieces of an f32.
const PIECES: usize = 3;

/// Whether this processor has the unit and the operating system lets this process use it.
pub fn available() -> bool {
    static AVAILABLE: OnceLock<bool> = OnceLock::new();
    *AVAILABLE.get_or_init(|| has_unit() && permitted())
}

fn has_unit() -> bool {
    const TILES: u32 = 1 << 24;
    const BF16: u32 = 1 << 22;
    let vectors = std::arch::is_x86_feature_detected!("avx512f")
        && std::arch::is_x86_feature_detected!("avx512bw")
        && std::arch::is_x86_feature_detected!("avx512dq")
        && std::arch::is_x86_feature_detected!("avx512vl")
        && std::arch::is_x86_feature_detected!("avx512bf16");
    vectors && std::arch::x86_64::__cpuid_count(7, 0).edx & (TILES | BF16) == TILES | BF16
}

/// Linux hands the tiles' state out on request, once for all threads of a process.
#[cfg(target_os = "linux")]
fn permitted() -> bool {
    const ARCH_REQ_XCOMP_PERM: libc::c_ulong = 0x1023;
    const TILE_DATA: libc::c_ulong = 18;
    // SAFETY: this system call takes two numbers and changes nothing in this process's memory.
    unsafe { libc::syscall(libc::SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, TILE_DATA) == 0 }
}

#[cfg(not(target_os = "linux"))]
fn permitted() -> bool {
    false
}

/// This thread's tiles, set up as eight of 16 rows × 64 bytes until this is dropped.
struct Tiles {
    /// The set-up belongs to one thread.
    thread: PhantomData<*const ()>,
}

impl Tiles {
    /// # Safety
    /// [`available`] must have said yes.
    unsafe fn set_up() -> Self {
        /// Palette 1; bytes 16 … 31 hold each tile's bytes a row, as u16, bytes 48 … 55 its rows.
        static CONFIG: [u8; 64] = {
            let mut config = [0; 64];
            config[0] = 1;
            let mut tile = 0;
            while tile < 8 {
                config[16 + 2 * tile] = 64;
                config[48 + tile] = 16;
                tile += 1;
            }
            config
        };
        // SAFETY: the caller answers for the instruction; it reads 64 bytes.
        unsafe { std::arch::asm!("ldtilecfg [{}]", in(reg) &raw const CONFIG, options(nostack, readonly)) }
        Self { thread: PhantomData }
    }
}

impl Drop for Tiles {
    fn drop(&mut self) {
        // SAFETY: only made where the unit is there. Released, the tiles are not saved at every switch of threads.
        unsafe { std::arch::asm!("tilerelease", options(nostack, nomem)) }
    }
}
