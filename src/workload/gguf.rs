//! The files of llama.cpp: which type each matrix gets.
//!
//! A GGUF **type** stores rows in blocks of 32 or 256 elements with their scales inside the block: `Q4_K` takes 144 bytes for 256. A **mix**
//! such as `Q4_K_M` is a rule that gives every matrix a type by its role and layer: more bits where errors hurt most (values, the way down of
//! the first and last eighth of the layers and every third between, the output head), the default type elsewhere. Norms, biases and routers
//! stay FP32. A row whose length the block does not divide gets a type with smaller blocks.
//!
//! Source of the rules: ggml-org/llama.cpp, `src/llama-quant.cpp`, and of the block sizes `ggml/src/ggml-common.h` (read 2026-11-23). They
//! hold for the architectures known here; Falcon's own exceptions are not reproduced.

use super::linear::Role;

/// How one matrix is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Type {
    F16,
    Q4_0,
    Q4_1,
    Q5_0,
    Q5_1,
    Q8_0,
    Q2K,
    Q3K,
    Q4K,
    Q5K,
    Q6K,
    Iq1S,
    Iq2Xxs,
    Iq2S,
    Iq3S,
    Iq4Nl,
    Iq4Xs,
}

impl Type {
    /// Elements of a block and its bytes.
    const fn block(self) -> (u64, u64) {
        match self {
            Self::F16 => (1, 2),
            Self::Q4_0 | Self::Iq4Nl => (32, 18),
            Self::Q4_1 => (32, 20),
            Self::Q5_0 => (32, 22),
            Self::Q5_1 => (32, 24),
            Self::Q8_0 => (32, 34),
            Self::Q2K => (256, 84),
            Self::Q3K | Self::Iq3S => (256, 110),
            Self::Q4K => (256, 144),
            Self::Q5K => (256, 176),
            Self::Q6K => (256, 210),
            Self::Iq1S => (256, 50),
            Self::Iq2Xxs => (256, 66),
            Self::Iq2S => (256, 82),
            Self::Iq4Xs => (256, 136),
        }
    }

    /// The type a row of `inputs` gets in its stead: one whose blocks divide it.
    const fn fitting(self, inputs: u64) -> Self {
        if inputs.is_multiple_of(self.block().0) {
            return self;
        }
        let smaller = match self {
            Self::Iq1S | Self::Iq2Xxs | Self::Iq2S | Self::Iq3S | Self::Iq4Xs => Self::Iq4Nl,
            Self::Q2K | Self::Q3K => Self::Q4_0,
            Self::Q4K => Self::Q5_0,
            Self::Q5K => Self::Q5_1,
            Self::Q6K => Self::Q8_0,
            other => other,
        };
        if inputs.is_multiple_of(smaller.block().0) { smaller } else { Self::F16 }
    }

    const fn bytes(self, inputs: u64, outputs: u64) -> u64 {
        let (elements, bytes) = self.block();
        inputs.div_ceil(elements) * bytes * outputs
    }
}

/// A mix: the rule that gives every matrix its type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Mix {
    Iq1S,
    Iq2M,
    Q2K,
    Iq3M,
    Q3KS,
    Q3KM,
    Q3KL,
    Iq4Xs,
    Iq4Nl,
    Q4_0,
    Q4_1,
    Q4KS,
    Q4KM,
    Q5_0,
    Q5_1,
    Q5KS,
    Q5KM,
    Q6K,
    Q8_0,
    F16,
}

/// Where a matrix stands: what a mix chooses by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The layer, from 0.
    pub layer: u64,
    /// Layers of the model.
    pub layers: u64,
    /// Query heads per key-value head.
    pub group: u64,
    /// Experts of a layer; 0 or 1 in a dense model.
    pub experts: u64,
}

impl Place {
    /// Layers of one class get the same types: every rule asks for one of these five properties, and nothing else of the layer's number.
    pub const CLASSES: usize = 32;

    /// Which class the layer is of, below [`Self::CLASSES`].
    pub const fn class(&self) -> usize {
        let Self { layer, layers, .. } = *self;
        let properties = [self.sensitive(), layer < layers / 8, layer < layers / 16, layer < 4, layer < 2];
        let (mut class, mut bit) = (0, 0);
        while bit < properties.len() {
            class |= (properties[bit] as usize) << bit;
            bit += 1;
        }
        class
    }

    /// The first and the last eighth of the layers, and every third between.
    const fn sensitive(&self) -> bool {
        let eighth = self.layers / 8;
        self.layer < eighth || self.layer >= 7 * self.layers / 8 || (self.layer - eighth) % 3 == 2
    }
}

impl Mix {
    /// Every mix, from few bits to many.
    pub const ALL: [Self; 20] = [
        Self::Iq1S,
        Self::Iq2M,
        Self::Q2K,
        Self::Iq3M,
        Self::Q3KS,
        Self::Q3KM,
        Self::Q3KL,
        Self::Iq4Xs,
        Self::Iq4Nl,
        Self::Q4_0,
        Self::Q4_1,
        Self::Q4KS,
        Self::Q4KM,
        Self::Q5_0,
        Self::Q5_1,
        Self::Q5KS,
        Self::Q5KM,
        Self::Q6K,
        Self::Q8_0,
        Self::F16,
    ];

    /// As llama.cpp writes it, in lower case: `q4_k_m`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Iq1S => "iq1_s",
            Self::Iq2M => "iq2_m",
            Self::Q2K => "q2_k",
            Self::Iq3M => "iq3_m",
            Self::Q3KS => "q3_k_s",
            Self::Q3KM => "q3_k_m",
            Self::Q3KL => "q3_k_l",
            Self::Iq4Xs => "iq4_xs",
            Self::Iq4Nl => "iq4_nl",
            Self::Q4_0 => "q4_0",
            Self::Q4_1 => "q4_1",
            Self::Q4KS => "q4_k_s",
            Self::Q4KM => "q4_k_m",
            Self::Q5_0 => "q5_0",
            Self::Q5_1 => "q5_1",
            Self::Q5KS => "q5_k_s",
            Self::Q5KM => "q5_k_m",
            Self::Q6K => "q6_k",
            Self::Q8_0 => "q8_0",
            Self::F16 => "f16",
        }
    }

    /// The type of every matrix that no rule names.
    const fn default(self) -> Type {
        match self {
            Self::Iq1S => Type::Iq1S,
            Self::Iq2M => Type::Iq2S,
            Self::Q2K => Type::Q2K,
            Self::Iq3M => Type::Iq3S,
            Self::Q3KS | Self::Q3KM | Self::Q3KL => Type::Q3K,
            Self::Iq4Xs => Type::Iq4Xs,
            Self::Iq4Nl => Type::Iq4Nl,
            Self::Q4_0 => Type::Q4_0,
            Self::Q4_1 => Type::Q4_1,
            Self::Q4KS | Self::Q4KM => Type::Q4K,
            Self::Q5_0 => Type::Q5_0,
            Self::Q5_1 => Type::Q5_1,
            Self::Q5KS | Self::Q5KM => Type::Q5K,
            Self::Q6K => Type::Q6K,
            Self::Q8_0 => Type::Q8_0,
            Self::F16 => Type::F16,
        }
    }

    /// Bytes of a layer's matrix `outputs × inputs` in `role` at `place`. Routers are FP32.
    pub const fn matrix(self, role: Role, inputs: u64, outputs: u64, place: Place) -> u64 {
        let kind = match role {
            Role::Router | Role::SharedGate => return 4 * inputs * outputs,
            Role::Head => return self.head(inputs, outputs),
            Role::Value | Role::QueryKeyValue | Role::KvUp => self.value(place),
            Role::Key if place.experts == 8 => self.key(),
            Role::Output => self.output(place),
            Role::Down => self.down(place),
            _ => self.default(),
        };
        kind.fitting(inputs).bytes(inputs, outputs)
    }

    /// Bytes of the output head, or of the embedding table where it is the head too.
    pub const fn head(self, inputs: u64, outputs: u64) -> u64 {
        let kind = match self {
            Self::F16 => Type::F16,
            Self::Q8_0 => Type::Q8_0,
            _ if !inputs.is_multiple_of(self.default().block().0) => Type::Q8_0,
            Self::Iq1S | Self::Iq2M => Type::Q5K,
            _ => Type::Q6K,
        };
        kind.fitting(inputs).bytes(inputs, outputs)
    }

    /// Bytes of an embedding table `rows × width` that is not the head.
    pub const fn embedding(self, width: u64, rows: u64) -> u64 {
        let kind = match self {
            Self::Iq1S => Type::Q2K,
            Self::Iq2M => Type::Iq3S,
            other => other.default(),
        };
        kind.fitting(width).bytes(width, rows)
    }

    const fn value(self, place: Place) -> Type {
        let grouped = place.group >= 4;
        let kind = match self {
            Self::Iq1S if grouped || place.experts >= 4 => return Type::Q4K,
            Self::Iq1S => return Type::Q2K,
            Self::Iq2M if grouped || place.experts >= 4 => return Type::Q4K,
            Self::Iq2M => return Type::Iq3S,
            Self::F16 | Self::Q8_0 => return self.default(),
            Self::Q2K if grouped => Type::Q4K,
            Self::Q2K => Type::Q3K,
            Self::Iq3M => Type::Q4K,
            Self::Q3KM if place.layer < 2 => Type::Q5K,
            Self::Q3KM => Type::Q4K,
            Self::Q3KL => Type::Q5K,
            Self::Iq4Xs | Self::Iq4Nl if grouped => Type::Q5K,
            Self::Q4KM | Self::Q5KM if place.sensitive() => Type::Q6K,
            Self::Q4KS if place.layer < 4 => Type::Q5K,
            other => other.default(),
        };
        if place.experts == 8 {
            return Type::Q8_0;
        }
        // Models of 80 layers with eight heads per group (70B): the matrix is small, so it can have more bits.
        match kind {
            Type::Q3K | Type::Q4K if place.layers == 80 && place.group > 1 => Type::Q5K,
            other => other,
        }
    }

    /// Keys of a model with eight experts.
    const fn key(self) -> Type {
        match self {
            Self::Iq1S | Self::Iq2M => Type::Q4K,
            Self::F16 => Type::F16,
            _ => Type::Q8_0,
        }
    }

    const fn output(self, place: Place) -> Type {
        let eight = place.experts == 8;
        match self {
            Self::Iq1S
            | Self::Iq2M
            | Self::Q2K
            | Self::Q3KS
            | Self::Q3KM
            | Self::Iq4Nl
            | Self::Q4KS
            | Self::Q4KM
            | Self::Iq3M
            | Self::Iq4Xs
                if eight =>
            {
                Type::Q5K
            }
            Self::Iq1S => Type::Iq2Xxs,
            Self::Iq2M => Type::Iq3S,
            Self::Q2K if !eight => Type::Q3K,
            Self::Q3KM | Self::Iq3M => Type::Q4K,
            Self::Q3KL if !eight => Type::Q5K,
            other => other.default(),
        }
    }

    const fn down(self, place: Place) -> Type {
        let first_eighth = place.layer < place.layers / 8;
        match self {
            Self::Iq1S if first_eighth => Type::Q2K,
            Self::Iq2M if first_eighth => Type::Iq3S,
            Self::Q2K => Type::Q3K,
            Self::Iq3M if first_eighth || (place.experts == 8 && place.sensitive()) => Type::Q4K,
            Self::Q3KM if place.layer < place.layers / 16 => Type::Q5K,
            Self::Q3KM => Type::Q4K,
            Self::Q3KL => Type::Q5K,
            Self::Q4KM | Self::Q5KM if place.sensitive() => Type::Q6K,
            // Without an importance matrix, which is how a file is made that nobody prepared data for.
            Self::Iq4Xs | Self::Iq4Nl | Self::Q4KS if first_eighth => Type::Q5K,
            other => other.default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DENSE: Place = Place { layer: 0, layers: 32, group: 4, experts: 0 };

    #[test]
    fn half_of_the_sensitive_matrices_have_more_bits() {
        let sensitive = (0..32).filter(|&layer| Place { layer, ..DENSE }.sensitive()).count();
        // Four at each end and eight of the twenty-four between.
        assert_eq!(sensitive, 16);
        let place = Place { layer: 4, ..DENSE };
        assert_eq!(Mix::Q4KM.matrix(Role::Down, 14336, 4096, DENSE), 14336 / 256 * 210 * 4096);
        assert_eq!(Mix::Q4KM.matrix(Role::Down, 14336, 4096, place), 14336 / 256 * 144 * 4096);
        assert_eq!(Mix::Q4KM.matrix(Role::Up, 4096, 14336, DENSE), 4096 / 256 * 144 * 14336);
        assert_eq!(Mix::Q4KM.head(4096, 128_256), 16 * 210 * 128_256);
        assert_eq!(Mix::Q4KM.embedding(4096, 128_256), 16 * 144 * 128_256);
    }

    #[test]
    fn layers_of_a_class_are_stored_alike() {
        for layers in [1, 7, 24, 32, 80, 126] {
            let mut seen = [None; Place::CLASSES];
            for layer in 0..layers {
                let place = Place { layer, layers, group: 1, experts: 0 };
                let bytes = Mix::ALL.map(|mix| {
                    [Role::Value, Role::Down, Role::Output, Role::Key, Role::Up].map(|role| mix.matrix(role, 4096, 4096, place))
                });
                assert_eq!(*seen[place.class()].get_or_insert(bytes), bytes, "layer {layer} of {layers}");
            }
        }
    }

    #[test]
    fn rows_that_blocks_do_not_divide_get_smaller_blocks() {
        // 896 = 3.5 · 256 = 28 · 32 (Qwen2.5-0.5B).
        assert_eq!(Mix::Q4KM.matrix(Role::Up, 896, 4864, DENSE), 28 * 22 * 4864);
        assert_eq!(Mix::Q6K.matrix(Role::Up, 896, 4864, DENSE), 28 * 34 * 4864);
        assert_eq!(Mix::Q4KM.matrix(Role::Up, 30, 10, DENSE), 600);
    }

    #[test]
    fn eight_experts_have_rules_of_their_own() {
        let place = Place { experts: 8, ..DENSE };
        assert_eq!(Mix::Q4KM.matrix(Role::Value, 4096, 1024, place), 128 * 34 * 1024);
        assert_eq!(Mix::Q4KM.matrix(Role::Key, 4096, 1024, place), 128 * 34 * 1024);
        assert_eq!(Mix::Q4KM.matrix(Role::Output, 4096, 4096, place), 16 * 176 * 4096);
        assert_eq!(Mix::Q4KM.matrix(Role::Router, 4096, 8, place), 4 * 4096 * 8);
    }
}
