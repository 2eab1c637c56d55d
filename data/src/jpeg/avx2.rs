//! [`super::idct`]'s transform to eight pixels a side with the instructions of AVX2, to the same
//! last bit. Compilers do not find these shuffles by themselves.

use std::arch::x86_64::{
    __m256i, _mm_setr_epi16, _mm256_add_epi32, _mm256_cvtepi16_epi32, _mm256_cvtepu16_epi32,
    _mm256_extract_epi64, _mm256_mullo_epi32, _mm256_packs_epi32, _mm256_packus_epi16,
    _mm256_permute2x128_si256, _mm256_set1_epi32, _mm256_setr_epi8, _mm256_shuffle_epi8,
    _mm256_slli_epi32, _mm256_srai_epi32, _mm256_sub_epi32, _mm256_unpackhi_epi32,
    _mm256_unpackhi_epi64, _mm256_unpacklo_epi32, _mm256_unpacklo_epi64,
};

use super::idct::{Block, CONST_BITS, PASS_BITS, Steps};

/// Bits that are left off after the first pass and after the second.
const FIRST: i32 = (CONST_BITS - PASS_BITS).cast_signed();
const SECOND: i32 = (CONST_BITS + PASS_BITS + 3).cast_signed();

/// Writes the block's 8 x 8 pixels to the beginning of `out`, whose rows are `stride` bytes apart.
#[target_feature(enable = "avx2")]
pub(super) fn inverse(block: &Block, steps: &Steps, out: &mut [u8], stride: usize) {
    let mut rows = [_mm256_set1_epi32(0); 8];
    let lines = block
        .as_chunks::<8>()
        .0
        .iter()
        .zip(steps.as_chunks::<8>().0);
    for (row, (b, s)) in rows.iter_mut().zip(lines) {
        let s = s.map(u16::cast_signed);
        let b = _mm_setr_epi16(b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7]);
        let s = _mm_setr_epi16(s[0], s[1], s[2], s[3], s[4], s[5], s[6], s[7]);
        *row = _mm256_mullo_epi32(_mm256_cvtepi16_epi32(b), _mm256_cvtepu16_epi32(s));
    }
    let between = eight::<FIRST>(rows, 1 << (FIRST - 1));
    // 128 is where a cosine is zero.
    let columns = eight::<SECOND>(transposed(between), (1 << (SECOND - 1)) + (128 << SECOND));
    let bytes = pixels(columns);
    for (line, bytes) in out.chunks_mut(stride).zip(bytes) {
        line[..8].copy_from_slice(&bytes.to_le_bytes());
    }
}

#[inline]
#[target_feature(enable = "avx2")]
fn times(lanes: __m256i, factor: i32) -> __m256i {
    _mm256_mullo_epi32(lanes, _mm256_set1_epi32(factor))
}

/// As [`super::idct`]'s; `rounding` is added before the last `DOWN` bits go.
#[inline]
#[target_feature(enable = "avx2")]
fn eight<const DOWN: i32>(z: [__m256i; 8], rounding: i32) -> [__m256i; 8] {
    let (add, sub) = (_mm256_add_epi32, _mm256_sub_epi32);
    let shared = times(add(z[2], z[6]), 4433);
    let low = sub(shared, times(z[6], 15137));
    let high = add(shared, times(z[2], 6270));
    let rounding = _mm256_set1_epi32(rounding);
    let scaled = |lanes| add(_mm256_slli_epi32::<13>(lanes), rounding);
    let (sum, difference) = (scaled(add(z[0], z[4])), scaled(sub(z[0], z[4])));
    let even = [
        add(sum, high),
        add(difference, low),
        sub(difference, low),
        sub(sum, high),
    ];

    let (z1, z2) = (times(add(z[7], z[1]), 7373), times(add(z[5], z[3]), 20995));
    let (z3, z4) = (add(z[7], z[3]), add(z[5], z[1]));
    let z5 = times(add(z3, z4), 9633);
    let (z3, z4) = (sub(z5, times(z3, 16069)), sub(z5, times(z4, 3196)));
    let odd = [
        add(sub(times(z[1], 12299), z1), z4),
        add(sub(times(z[3], 25172), z2), z3),
        add(sub(times(z[5], 16819), z2), z4),
        add(sub(times(z[7], 2446), z1), z3),
    ];
    let mut out = z;
    for at in 0..4 {
        out[at] = _mm256_srai_epi32::<DOWN>(add(even[at], odd[at]));
        out[7 - at] = _mm256_srai_epi32::<DOWN>(sub(even[at], odd[at]));
    }
    out
}

/// Rows become columns.
#[inline]
#[target_feature(enable = "avx2")]
fn transposed(rows: [__m256i; 8]) -> [__m256i; 8] {
    let [r0, r1, r2, r3, r4, r5, r6, r7] = rows;
    let pairs = |a, b| (_mm256_unpacklo_epi32(a, b), _mm256_unpackhi_epi32(a, b));
    let fours = |a: (_, _), b: (_, _)| {
        [
            _mm256_unpacklo_epi64(a.0, b.0),
            _mm256_unpackhi_epi64(a.0, b.0),
            _mm256_unpacklo_epi64(a.1, b.1),
            _mm256_unpackhi_epi64(a.1, b.1),
        ]
    };
    let upper = fours(pairs(r0, r1), pairs(r2, r3));
    let lower = fours(pairs(r4, r5), pairs(r6, r7));
    let mut columns = rows;
    for at in 0..4 {
        columns[at] = _mm256_permute2x128_si256::<0x20>(upper[at], lower[at]);
        columns[at + 4] = _mm256_permute2x128_si256::<0x31>(upper[at], lower[at]);
    }
    columns
}

/// The eight bytes of each row, the first the lowest, of columns that are clamped to bytes.
#[inline]
#[target_feature(enable = "avx2")]
fn pixels(columns: [__m256i; 8]) -> [i64; 8] {
    let [c0, c1, c2, c3, c4, c5, c6, c7] = columns;
    // In each half: four rows of one column, then of the next.
    let four = |a, b, c, d| _mm256_packus_epi16(_mm256_packs_epi32(a, b), _mm256_packs_epi32(c, d));
    let by_row = _mm256_setr_epi8(
        0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15, 0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10,
        14, 3, 7, 11, 15,
    );
    let left = _mm256_shuffle_epi8(four(c0, c1, c2, c3), by_row);
    let right = _mm256_shuffle_epi8(four(c4, c5, c6, c7), by_row);
    let (outer, inner) = (
        _mm256_unpacklo_epi32(left, right),
        _mm256_unpackhi_epi32(left, right),
    );
    [
        _mm256_extract_epi64::<0>(outer),
        _mm256_extract_epi64::<1>(outer),
        _mm256_extract_epi64::<0>(inner),
        _mm256_extract_epi64::<1>(inner),
        _mm256_extract_epi64::<2>(outer),
        _mm256_extract_epi64::<3>(outer),
        _mm256_extract_epi64::<2>(inner),
        _mm256_extract_epi64::<3>(inner),
    ]
}
