//! How wide numbers are under each way to train.
//!
//! A training run has several widths: of the weights that the products read, of the gradients, of a master copy of the weights, of the
//! optimizer's states, and of the activations. Activations come in two widths under autocast: the **stream** (the residual and everything
//! elementwise on it) stays FP32, while **products** read and write BF16.

use crate::workload::{Adapters, Data, Method, Parallel};

/// Bytes of one number, by what it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Precision {
    /// A weight, as the model holds it. Frozen 4-bit weights are counted apart; this is the width of all others.
    pub(crate) weight: u64,
    /// A trained parameter: the weight, or an adapter's.
    pub(crate) trained: u64,
    /// A gradient of a trained parameter.
    pub(crate) gradient: u64,
    /// The FP32 copy of a trained parameter that the optimizer updates; 0 where it updates the parameter itself.
    pub(crate) master: u64,
    /// One number of the optimizer's state.
    pub(crate) state: u64,
    /// Residual stream and norms.
    pub(crate) stream: u64,
    /// Inputs and outputs of products, and attention.
    pub(crate) product: u64,
    /// Whether the base weights are trained.
    pub(crate) full: bool,
}

impl Precision {
    /// The widths of `method`.
    pub(crate) const fn of(method: &Method) -> Self {
        const FP32: Precision = Precision { weight: 4, trained: 4, gradient: 4, master: 0, state: 4, stream: 4, product: 4, full: true };
        const BF16: Precision = Precision { weight: 2, trained: 2, gradient: 2, master: 0, state: 2, stream: 2, product: 2, full: true };
        match method {
            Method::FullFp32 => FP32,
            Method::AmpBf16 => Self { product: 2, ..FP32 },
            Method::FullMixed { fp32_gradients } => Self { gradient: if *fp32_gradients { 4 } else { 2 }, master: 4, state: 4, ..BF16 },
            Method::FullBf16 => BF16,
            Method::Lora(Adapters { fp32, .. }) | Method::Qlora(Adapters { fp32, .. }, _) => {
                let adapter = if *fp32 { 4 } else { 2 };
                Self { trained: adapter, gradient: adapter, state: adapter, full: false, ..BF16 }
            }
        }
    }

    /// The same where weights are gathered before they are used: FSDP gathers FP32 weights in the width of products, the embedding's too, and
    /// so the residual stream is as narrow.
    #[must_use]
    pub(crate) const fn gathered(self, parallel: &Parallel) -> Self {
        match parallel.data {
            Data::Fsdp if parallel.workers() > 1 => Self { stream: self.product, ..self },
            _ => self,
        }
    }

    /// Whether products read copies of the weights, made by autocast.
    pub(crate) const fn casts(&self) -> bool {
        self.weight > self.product
    }
}
