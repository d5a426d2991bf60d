//! The innermost loop: a block of 32 × 32 numbers of a result, in four tiles.

use std::arch::asm;

use super::{Line, SIDE, Tiles};

/// A block of a result, row by row.
#[derive(Debug, Clone)]
#[repr(C, align(64))]
pub struct Block(pub [[f32; SIDE]; SIDE]);

impl Block {
    pub const ZERO: Self = Self([[0.0; SIDE]; SIDE]);
}

/// One operand: for every step of the inner dimension its pieces behind one another, each two tiles. A right operand's
/// smallest piece comes first: in this order they are read, and memory is fetched ahead by itself.
#[derive(Clone, Copy)]
pub struct Operand {
    pub first: *const Line,
    /// Lines from step to step.
    pub step: usize,
}

/// Which products of pieces a product is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Products {
    /// f32: three pieces each.
    Six,
    /// f32 against numbers of two pieces (f16) on the right: without the product that would add zeros.
    RightTwo,
    /// f32 against numbers of one piece (bf16) on the right.
    RightOne,
    /// The same with these on the left.
    LeftTwo,
    LeftOne,
    /// The first pieces alone.
    One,
}

impl Products {
    /// Those of operands that are cut into so many pieces.
    pub fn of(left: usize, right: usize) -> Self {
        match (left, right) {
            (1, 1) => Self::One,
            (1, _) => Self::LeftOne,
            (2, _) => Self::LeftTwo,
            (_, 1) => Self::RightOne,
            (_, 2) => Self::RightTwo,
            _ => Self::Six,
        }
    }
}

/// Lines fetched ahead at every step.
pub const AHEAD: usize = 8;

/// What is fetched into the second cache while a block is multiplied: [`AHEAD`] lines at every step. They need not exist.
#[derive(Clone, Copy)]
pub struct Ahead {
    pub first: *const Line,
    /// Lines from step to step.
    pub step: usize,
}

macro_rules! left {
    ($place:literal) => {
        concat!(
            "tileloadd tmm4, [{a} + {line}*1 + ",
            $place,
            "]\ntileloadd tmm5, [{a} + {line}*1 + 1024 + ",
            $place,
            "]\n"
        )
    };
}

macro_rules! right {
    ($place:literal) => {
        concat!(
            "tileloadd tmm6, [{b} + {line}*1 + ",
            $place,
            "]\ntileloadd tmm7, [{b} + {line}*1 + 1024 + ",
            $place,
            "]\n"
        )
    };
}

macro_rules! multiply {
    () => {
        "tdpbf16ps tmm0, tmm4, tmm6\ntdpbf16ps tmm1, tmm4, tmm7\ntdpbf16ps tmm2, tmm5, tmm6\ntdpbf16ps tmm3, tmm5, tmm7\n"
    };
}

/// The same for blocks of 16 rows, whose lower half nobody asked for.
macro_rules! left_upper {
    ($place:literal) => {
        concat!("tileloadd tmm4, [{a} + {line}*1 + ", $place, "]\n")
    };
}

macro_rules! multiply_upper {
    () => {
        "tdpbf16ps tmm0, tmm4, tmm6\ntdpbf16ps tmm1, tmm4, tmm7\n"
    };
}

/// Fetches what will be read next into the second cache.
macro_rules! fetch {
    () => {
        "prefetcht1 [{ahead}]\nprefetcht1 [{ahead} + 64]\nprefetcht1 [{ahead} + 128]\nprefetcht1 [{ahead} + 192]\n\
         prefetcht1 [{ahead} + 256]\nprefetcht1 [{ahead} + 320]\nprefetcht1 [{ahead} + 384]\nprefetcht1 [{ahead} + 448]\n"
    };
}

/// Steps over the inner dimension. Every number of the block is one chain of additions in this order.
macro_rules! run {
    ($a:expr, $b:expr, $ahead:expr, $steps:expr, $sum:expr, $go_on:expr, $body:expr) => {
        asm!(
            "test {go_on:e}, {go_on:e}",
            "jz 3f",
            "tileloadd tmm0, [{c} + {row}*1]",
            "tileloadd tmm1, [{c} + {row}*1 + 64]",
            "tileloadd tmm2, [{c} + {row}*1 + 2048]",
            "tileloadd tmm3, [{c} + {row}*1 + 2112]",
            "jmp 2f",
            "3:",
            "tilezero tmm0",
            "tilezero tmm1",
            "tilezero tmm2",
            "tilezero tmm3",
            "2:",
            fetch!(),
            $body,
            "add {ahead}, {ahead_step}",
            "add {a}, {a_step}",
            "add {b}, {b_step}",
            "dec {steps}",
            "jnz 2b",
            "tilestored [{c} + {row}*1], tmm0",
            "tilestored [{c} + {row}*1 + 64], tmm1",
            "tilestored [{c} + {row}*1 + 2048], tmm2",
            "tilestored [{c} + {row}*1 + 2112], tmm3",
            a = inout(reg) $a.first => _,
            b = inout(reg) $b.first => _,
            ahead = inout(reg) $ahead.first => _,
            ahead_step = in(reg) $ahead.step * size_of::<Line>(),
            steps = inout(reg) $steps => _,
            a_step = in(reg) $a.step * size_of::<Line>(),
            b_step = in(reg) $b.step * size_of::<Line>(),
            c = in(reg) $sum,
            row = in(reg) SIDE * size_of::<f32>(),
            line = in(reg) size_of::<Line>(),
            go_on = in(reg) u32::from($go_on),
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
            out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
            options(nostack),
        )
    };
}

/// The products of one step, from small ones to large ones; each changes one operand only.
macro_rules! six {
    ($left:ident, $multiply:ident) => {
        concat!(
            $left!("0"),
            right!("0"),
            $multiply!(),
            right!("2048"),
            $multiply!(),
            $left!("2048"),
            $multiply!(),
            right!("4096"),
            $multiply!(),
            $left!("4096"),
            $multiply!(),
            $left!("0"),
            $multiply!(),
        )
    };
}

/// Those of [`six`] in whose place zeros would not be added, in the same order: the sums have the same bits.
macro_rules! right_two {
    ($left:ident, $multiply:ident) => {
        concat!(
            $left!("0"),
            right!("0"),
            $multiply!(),
            $left!("2048"),
            $multiply!(),
            right!("2048"),
            $multiply!(),
            $left!("4096"),
            $multiply!(),
            $left!("0"),
            $multiply!(),
        )
    };
}

macro_rules! right_one {
    ($left:ident, $multiply:ident) => {
        concat!($left!("2048"), right!("0"), $multiply!(), $left!("4096"), $multiply!(), $left!("0"), $multiply!(),)
    };
}

/// The same where it is the left operand that has fewer pieces.
macro_rules! left_two {
    ($left:ident, $multiply:ident) => {
        concat!(
            $left!("0"),
            right!("0"),
            $multiply!(),
            right!("2048"),
            $multiply!(),
            $left!("2048"),
            $multiply!(),
            right!("4096"),
            $multiply!(),
            $left!("0"),
            $multiply!(),
        )
    };
}

macro_rules! left_one {
    ($left:ident, $multiply:ident) => {
        concat!($left!("0"), right!("0"), $multiply!(), right!("2048"), $multiply!(), right!("4096"), $multiply!(),)
    };
}

macro_rules! one {
    ($left:ident, $multiply:ident) => {
        concat!($left!("0"), right!("0"), $multiply!(),)
    };
}

/// sum (+)= left · right over `steps` ≥ 1 steps of 32; `go_on` adds to what `sum` holds. Of at most 16 `rows` the
/// other half of the block is left as it is or undefined.
///
/// # Safety
/// Both operands must have `steps` steps of the pieces that `products` reads.
#[inline(always)]
pub unsafe fn multiply(
    _tiles: &Tiles,
    products: Products,
    (left, right): (Operand, Operand),
    ahead: Ahead,
    steps: usize,
    rows: usize,
    (sum, go_on): (&mut Block, bool),
) {
    debug_assert!(steps > 0);
    let sum = &raw mut *sum;
    // SAFETY: the caller's contract; `_tiles` says that the tiles are set up. Tiles are read at 64 bytes a row inside
    // the operands, and `sum` is 32 rows of 128 bytes.
    unsafe {
        match (products, rows <= SIDE / 2) {
            (Products::Six, false) => run!(left, right, ahead, steps, sum, go_on, six!(left, multiply)),
            (Products::Six, true) => run!(left, right, ahead, steps, sum, go_on, six!(left_upper, multiply_upper)),
            (Products::RightTwo, false) => run!(left, right, ahead, steps, sum, go_on, right_two!(left, multiply)),
            (Products::RightTwo, true) => {
                run!(left, right, ahead, steps, sum, go_on, right_two!(left_upper, multiply_upper))
            }
            (Products::RightOne, false) => run!(left, right, ahead, steps, sum, go_on, right_one!(left, multiply)),
            (Products::RightOne, true) => {
                run!(left, right, ahead, steps, sum, go_on, right_one!(left_upper, multiply_upper))
            }
            (Products::LeftTwo, false) => run!(left, right, ahead, steps, sum, go_on, left_two!(left, multiply)),
            (Products::LeftTwo, true) => {
                run!(left, right, ahead, steps, sum, go_on, left_two!(left_upper, multiply_upper))
            }
            (Products::LeftOne, false) => run!(left, right, ahead, steps, sum, go_on, left_one!(left, multiply)),
            (Products::LeftOne, true) => {
                run!(left, right, ahead, steps, sum, go_on, left_one!(left_upper, multiply_upper))
            }
            (Products::One, false) => run!(left, right, ahead, steps, sum, go_on, one!(left, multiply)),
            (Products::One, true) => run!(left, right, ahead, steps, sum, go_on, one!(left_upper, multiply_upper)),
        }
    }
}
