//! Types of numbers that weights may be saved in.

use tch::Kind;

/// A type of numbers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Dtype {
    /// 32-bit floats: what nets compute with.
    F32,
    /// 64-bit floats.
    F64,
    /// 16-bit floats.
    F16,
    /// 16-bit floats with the range of 32-bit ones.
    Bf16,
    /// 64-bit integers: counters.
    I64,
    /// 32-bit integers.
    I32,
    /// Bytes.
    U8,
}

impl Dtype {
    /// The type of a `PyTorch` storage class.
    pub(super) fn of_storage(class: &str) -> Option<Self> {
        Some(match class {
            "FloatStorage" => Self::F32,
            "DoubleStorage" => Self::F64,
            "HalfStorage" => Self::F16,
            "BFloat16Storage" => Self::Bf16,
            "LongStorage" => Self::I64,
            "IntStorage" => Self::I32,
            "ByteStorage" => Self::U8,
            _ => return None,
        })
    }

    /// The type of a safetensors tensor.
    pub(super) fn of_safetensors(dtype: safetensors::Dtype) -> Option<Self> {
        use safetensors::Dtype as Saved;
        const SAME: [(Saved, Dtype); 7] = [
            (Saved::F32, Dtype::F32),
            (Saved::F64, Dtype::F64),
            (Saved::F16, Dtype::F16),
            (Saved::BF16, Dtype::Bf16),
            (Saved::I64, Dtype::I64),
            (Saved::I32, Dtype::I32),
            (Saved::U8, Dtype::U8),
        ];
        let same = SAME.into_iter().find(|(saved, _)| *saved == dtype);
        same.map(|(_, own)| own)
    }

    /// Bytes of one number.
    pub(super) const fn bytes(self) -> usize {
        match self {
            Self::F64 | Self::I64 => 8,
            Self::F32 | Self::I32 => 4,
            Self::F16 | Self::Bf16 => 2,
            Self::U8 => 1,
        }
    }

    /// libtorch's name of it.
    pub(super) const fn kind(self) -> Kind {
        match self {
            Self::F32 => Kind::Float,
            Self::F64 => Kind::Double,
            Self::F16 => Kind::Half,
            Self::Bf16 => Kind::BFloat16,
            Self::I64 => Kind::Int64,
            Self::I32 => Kind::Int,
            Self::U8 => Kind::Uint8,
        }
    }
}
