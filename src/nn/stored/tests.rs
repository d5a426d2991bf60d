//! Every kind against candle's reading of the same bytes, to the last bit.

use candle_core::quantized::{GgmlDType, ggml_file::qtensor_from_ggml};
use candle_core::{Device, Tensor};

use super::*;

const KINDS: [(Stored, GgmlDType); 13] = [
    (Stored::F32, GgmlDType::F32),
    (Stored::F16, GgmlDType::F16),
    (Stored::Bf16, GgmlDType::BF16),
    (Stored::Q4_0, GgmlDType::Q4_0),
    (Stored::Q4_1, GgmlDType::Q4_1),
    (Stored::Q5_0, GgmlDType::Q5_0),
    (Stored::Q5_1, GgmlDType::Q5_1),
    (Stored::Q8_0, GgmlDType::Q8_0),
    (Stored::Q2K, GgmlDType::Q2K),
    (Stored::Q3K, GgmlDType::Q3K),
    (Stored::Q4K, GgmlDType::Q4K),
    (Stored::Q5K, GgmlDType::Q5K),
    (Stored::Q6K, GgmlDType::Q6K),
];

/// Bytes of every value; the scales, wherever they stand in a block, are sane numbers among others.
fn bytes(len: usize) -> Vec<u8> {
    (0..len as u64).map(|at| ((at * 2_654_435_761) >> 7) as u8 & if at % 2 == 1 { 0xbf } else { 0xff }).collect()
}

#[test]
fn every_block_reads_as_candles() {
    for (kind, dtype) in KINDS {
        assert_eq!((kind.numbers(), kind.bytes()), (dtype.block_size(), dtype.type_size()), "{kind:?}");
        let numbers = 6 * SUPER;
        let size = kind.size(numbers).unwrap();
        let mut blocks = bytes(size);
        if kind == Stored::F32 {
            blocks = (0..numbers).flat_map(|at| (at as f32 * 0.37).sin().to_le_bytes()).collect();
        }
        let tensor = qtensor_from_ggml(dtype, &blocks, vec![6, SUPER], &Device::Cpu).unwrap();
        let expected: Vec<f32> =
            tensor.dequantize(&Device::Cpu).and_then(|tensor: Tensor| tensor.flatten_all()?.to_vec1()).unwrap();
        let mut own = vec![0.0; numbers];
        kind.widen(&blocks, &mut own);
        assert!(own.iter().filter(|x| x.is_finite() && **x != 0.0).count() > numbers / 2, "{kind:?}");
        for (at, (own, expected)) in own.iter().zip(&expected).enumerate() {
            assert!(
                own.to_bits() == expected.to_bits() || own.is_nan() && expected.is_nan(),
                "{kind:?} {at}: {own} for {expected}"
            );
        }
    }
}

#[test]
fn sizes_are_of_whole_blocks() {
    assert_eq!(Stored::Q4_0.size(64), Some(36));
    assert_eq!(Stored::Q4_0.size(33), None);
    assert_eq!(Stored::Q6K.size(128), None);
    assert_eq!(Stored::F32.size(usize::MAX), None);
}
