//! Random numbers as a pure function of a key and a position (`SplitMix64`), written out here so
//! that no upgrade of a dependency can change what a seed means.

/// The increment of `SplitMix64`: 2^64 over the golden ratio, made odd.
const GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;

/// A stream of random numbers. Two streams with different keys are unrelated.
#[derive(Clone, Debug)]
pub struct Rng {
    state: u64,
}

impl Rng {
    /// The stream that belongs to `purpose` and `key`; the same arguments give the same stream on
    /// every machine and in every version.
    pub fn keyed(purpose: &str, key: &[u64]) -> Self {
        // FNV-1a over the purpose, then one round of mixing per word of the key.
        let mut state = 0xcbf2_9ce4_8422_2325_u64;
        for byte in purpose.bytes() {
            state = (state ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
        for word in key {
            state = mix(state ^ mix(word.wrapping_add(GAMMA)));
        }
        Self { state: mix(state) }
    }

    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.state = self.state.wrapping_add(GAMMA);
        mix(self.state)
    }

    /// A number below `bound`, which must not be zero. The bias is below `bound` / 2^64.
    pub fn below(&mut self, bound: u64) -> u64 {
        let wide = u128::from(self.bits()) * u128::from(bound);
        // The upper half of a 128-bit product fits 64 bits.
        (wide >> 64) as u64
    }

    /// The f32 that is nearest to [`Self::unit`], which may be one.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "rounds to nearest, in range"
    )]
    pub fn unit_f32(&mut self) -> f32 {
        self.unit() as f32
    }

    /// A number in the open interval (0, 1), a multiple of 2^-53 plus 2^-54.
    pub fn unit(&mut self) -> f64 {
        ((self.bits() >> 11) as f64 + 0.5) * (-53_f64).exp2()
    }

    /// Two independent draws from the standard normal distribution (Box and Muller).
    pub fn normals(&mut self) -> [f64; 2] {
        let radius = (-2.0 * self.unit().ln()).sqrt();
        let angle = std::f64::consts::TAU * self.unit();
        [radius * angle.cos(), radius * angle.sin()]
    }
}

/// The output function of `SplitMix64`.
fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first outputs of `SplitMix64` from state 0 in its published form.
    #[test]
    fn the_generator_is_splitmix64() {
        let mut rng = Rng { state: 0 };
        assert_eq!(rng.bits(), 0xe220_a839_7b1d_cdaf);
        assert_eq!(rng.bits(), 0x6e78_9e6a_a1b9_65f4);
    }

    #[test]
    fn streams_with_different_keys_differ() {
        let first = |purpose, key: &[u64]| Rng::keyed(purpose, key).bits();
        assert_eq!(first("a", &[1, 2]), first("a", &[1, 2]));
        assert_ne!(first("a", &[1, 2]), first("a", &[2, 1]));
        assert_ne!(first("a", &[1, 2]), first("b", &[1, 2]));
        assert_ne!(first("a", &[0]), first("a", &[0, 0]));
    }

    #[test]
    fn moments_are_those_of_the_distributions() {
        let mut rng = Rng::keyed("moments", &[]);
        let n = 100_000;
        let (mut unit, mut normal, mut square) = (0.0, 0.0, 0.0);
        for _ in 0..n {
            unit += rng.unit();
            let [a, b] = rng.normals();
            normal += a + b;
            square += a * a + b * b;
        }
        let n = f64::from(n);
        assert!((unit / n - 0.5).abs() < 0.005);
        assert!((normal / (2.0 * n)).abs() < 0.01);
        assert!((square / (2.0 * n) - 1.0).abs() < 0.02);
    }

    #[test]
    fn bounded_draws_reach_every_value_and_nothing_else() {
        let mut rng = Rng::keyed("bounded", &[7]);
        let mut seen = [false; 5];
        for _ in 0..200 {
            seen[usize::try_from(rng.below(5)).unwrap()] = true;
        }
        assert_eq!(seen, [true; 5]);
    }
}
