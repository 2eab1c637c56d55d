//! Random changes of inputs, the same for the same seed.

/// The longest input that is made.
const MAX_BYTES: usize = 8 << 10;

/// Values at which arithmetic goes wrong.
const EDGES: [u64; 8] = [0, 1, 0x7f, 0xff, 0xffff, 0x7fff_ffff, 0xffff_ffff, u64::MAX];

/// Makes new inputs of old ones.
#[derive(Debug)]
pub struct Mutator {
    chance: fastrand::Rng,
    inputs: Vec<Vec<u8>>,
}

impl Mutator {
    /// One that starts from `inputs`.
    pub fn new(seed: u64, inputs: Vec<Vec<u8>>) -> Self {
        Self {
            chance: fastrand::Rng::with_seed(seed),
            inputs,
        }
    }

    /// The next input.
    pub fn next_input(&mut self) -> Vec<u8> {
        let mut input = self.pick();
        for _ in 0..self.chance.usize(1..5) {
            self.change(&mut input);
        }
        input.truncate(MAX_BYTES);
        input
    }

    fn pick(&mut self) -> Vec<u8> {
        let chosen = self.chance.choice(&self.inputs);
        chosen.cloned().unwrap_or_default()
    }

    fn change(&mut self, input: &mut Vec<u8>) {
        let at = self.chance.usize(..=input.len());
        let to = at + self.chance.usize(..=(input.len() - at).min(16));
        match self.chance.u8(..8) {
            0 => {
                if let Some(byte) = input.get_mut(at) {
                    *byte ^= 1 << self.chance.u8(..8);
                }
            }
            1 => {
                if let Some(byte) = input.get_mut(at) {
                    *byte = self.chance.u8(..);
                }
            }
            2 => drop(input.drain(at..to)),
            3 => {
                let again = input[at..to].to_vec();
                drop(input.splice(at..at, again));
            }
            4 => {
                let edge = EDGES[self.chance.usize(..EDGES.len())].to_le_bytes();
                let width = 1 << self.chance.u8(..4);
                let to = input.len().min(at + width);
                drop(input.splice(at..to, edge[..width].iter().copied()));
            }
            5 => {
                let byte = self.chance.u8(..);
                drop(input.splice(at..at, std::iter::repeat_n(byte, 4)));
            }
            6 => {
                let other = self.pick();
                let from = self.chance.usize(..=other.len());
                drop(input.splice(at.., other[from..].iter().copied()));
            }
            _ => {
                let other = self.pick();
                let from = self.chance.usize(..=other.len());
                let until = from + self.chance.usize(..=(other.len() - from).min(32));
                drop(input.splice(at..at, other[from..until].iter().copied()));
            }
        }
    }
}
