//! The matrix products of a layer, one by one: what parameters, adapters, quantisation, activations and operation counts are made of.

/// What a matrix product is for. LoRA targets and quantisation choose by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Queries.
    Query,
    /// Keys.
    Key,
    /// Values.
    Value,
    /// Queries, keys and values in one product.
    QueryKeyValue,
    /// The attention's output projection.
    Output,
    /// Down to the queries' latent (MLA).
    QueryDown,
    /// From the queries' latent to all heads (MLA).
    QueryUp,
    /// Down to the latent of keys and values, with the shared rotary key (MLA).
    KvDown,
    /// From that latent to all heads (MLA).
    KvUp,
    /// The gate of a gated MLP.
    Gate,
    /// The way up of an MLP.
    Up,
    /// Gate and way up in one product.
    GateUp,
    /// The way down of an MLP.
    Down,
    /// Scores of the experts.
    Router,
    /// The gate of a shared expert.
    SharedGate,
    /// Logits.
    Head,
    /// From a vision tower's features to the decoder's width.
    Projector,
}

/// A matrix product `outputs × inputs`, with `copies` like it side by side (experts).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Linear {
    /// What it is for.
    pub role: Role,
    /// Features that come in.
    pub inputs: u64,
    /// Features that go out.
    pub outputs: u64,
    /// Whether a bias of `outputs` elements is added.
    pub bias: bool,
    /// How many of them the layer holds.
    pub copies: u64,
    /// How many of them one token passes through.
    pub active: u64,
}

impl Linear {
    /// One product that every token passes through.
    pub const fn new(role: Role, inputs: u64, outputs: u64, bias: bool) -> Self {
        Self { role, inputs, outputs, bias, copies: 1, active: 1 }
    }

    /// The same product once per expert.
    #[must_use]
    pub const fn experts(mut self, count: u64, active: u64) -> Self {
        self.copies = count;
        self.active = active;
        self
    }

    /// Elements of one copy's matrix.
    pub const fn matrix(&self) -> u64 {
        self.inputs * self.outputs
    }

    /// Parameters of all copies, biases included.
    pub const fn parameters(&self) -> u64 {
        (self.matrix() + if self.bias { self.outputs } else { 0 }) * self.copies
    }

    /// Parameters that one token meets.
    pub const fn active_parameters(&self) -> u64 {
        (self.matrix() + if self.bias { self.outputs } else { 0 }) * self.active
    }
}
