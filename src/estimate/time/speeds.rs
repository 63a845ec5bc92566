//! What a machine does, as far as an estimate of time asks.

use super::links::Links;
use super::published::{Rates, between, correction, family, measured_best, memory};
use super::software::{Flash, Launching};
use crate::calibrate::attention::{AttentionModel, AttentionShape};
use crate::calibrate::collective::Collective;
use crate::calibrate::matmul::{GemmShape, MatmulModel};
use crate::calibrate::memory_bound::{self, MemoryBoundModel};
use crate::calibrate::{Calibration, Prediction};
use crate::catalog::{Catalog, Dtype, GpuModel};
use crate::figure::{Basis, Figure};
use crate::units::{Bytes, BytesPerSecond, FlopsPerSecond, Seconds};
use crate::workload::operations::{AttentionWork, Product, Traffic};

/// Speeds of one GPU, its links and its host.
#[derive(Debug, Clone, PartialEq)]
pub struct Speeds {
    /// The GPU's short name.
    pub gpu: String,
    /// Links to other GPUs, nodes and the host.
    links: Links,
    /// Rate of copies inside device memory.
    memory: Figure<BytesPerSecond>,
    /// Kernels bound by memory, and what [`Self::memory`] is of the rate that it takes for copies.
    bound: Option<MemoryBoundModel>,
    correction: f64,
    /// By how much each of [`What`] is faster than the machine itself.
    factors: [f64; What::ALL.len()],
    /// Host's time per kernel, by way of launching.
    python: Figure<Seconds>,
    native: Figure<Seconds>,
    /// Host's time between two steps of a server.
    server: Figure<Seconds>,
    products: Vec<Rates>,
    attention: Option<AttentionModel>,
    hopper: bool,
}

/// What of a machine can be thought faster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// Matrix units.
    Compute,
    /// Device memory.
    Memory,
    /// Links between GPUs and nodes.
    Links,
    /// The link to the host.
    HostLink,
    /// The host's memory.
    HostMemory,
    /// The host's launching of kernels.
    Launch,
}

impl What {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::Compute, Self::Memory, Self::Links, Self::HostLink, Self::HostMemory, Self::Launch];
}

/// Least time of a kernel on the GPU, from the end of one to the end of the next where neither has anything to do.
const KERNEL: f64 = 2.0e-6;
/// Share of the copy rate at which products of few rows read their matrix.
const READ: f64 = 0.86;

impl Speeds {
    /// What the datasheet, published measurements of this model and shares usual in its family say. `network` is the rate between nodes per GPU.
    pub fn assumed(gpu: &GpuModel, catalog: &Catalog, network: Option<BytesPerSecond>) -> Self {
        let dtypes = [
            (Dtype::Fp32, 4.0),
            (Dtype::Tf32, 4.0),
            (Dtype::Fp16, 2.0),
            (Dtype::Bf16, 2.0),
            (Dtype::Fp8, 1.0),
            (Dtype::Int8, 1.0),
            (Dtype::Fp4, 0.5),
        ];
        let rates = |(dtype, width)| {
            let peak = gpu.matmul_peak(dtype)?;
            let best = catalog.achieved_matmul(gpu, dtype).unwrap_or_else(|| family(gpu, catalog, dtype, &peak));
            Some(Rates::new(dtype, width, peak.value.0, best, MatmulModel::assumed(gpu, dtype)))
        };
        let copy = memory(gpu, catalog);
        let bound = MemoryBoundModel::new(None, Some(gpu));
        let correction = bound.as_ref().map_or(1.0, |bound| correction(&copy, bound));
        Self {
            gpu: gpu.short_name.clone(),
            links: Links::assumed(gpu, catalog, network),
            memory: copy.clone(),
            bound,
            correction,
            factors: [1.0; What::ALL.len()],
            // From Python an operation passes the interpreter, the binding, autograd, the dispatcher, the backend and the driver: 5 to 25 µs.
            python: between(5e-6, 25e-6, "5 to 25 µs per operation launched from Python, their geometric mean"),
            native: between(2e-6, 6e-6, "2 to 6 µs per kernel launched from compiled code, their geometric mean"),
            // One sequence's output takes vLLM 0.2 ms (its issue 6913); SGLang works on it while the next step runs (its version 0.4).
            server: between(5e-5, 5e-4, "50 to 500 µs in which a server answers and chooses between steps, their geometric mean"),
            products: dtypes.into_iter().filter_map(rates).collect(),
            attention: AttentionModel::assumed(gpu),
            hopper: gpu.compute_capability().0 >= 9,
        }
    }

    /// The same with what was measured in its place.
    pub fn calibrated(gpu: &GpuModel, catalog: &Catalog, network: Option<BytesPerSecond>, calibration: &Calibration, index: u32) -> Self {
        let mut speeds = Self::assumed(gpu, catalog, network);
        let Some(measured) = calibration.gpu(index) else { return speeds };
        if let Some(copy) = measured.dram.get("copy") {
            speeds.memory = copy.clone();
            (speeds.bound, speeds.correction) = (MemoryBoundModel::new(Some(measured), Some(gpu)), 1.0);
        }
        for rates in &mut speeds.products {
            if let Some(best) = measured_best(measured, rates.dtype) {
                let model = calibration.matmul_model(index, catalog, rates.dtype).map(|fitted| fitted.model);
                *rates = Rates { best, scale: 1.0, model: model.or_else(|| rates.model.take()), ..rates.clone() };
            }
        }
        if let Some(kernel) = &measured.launch.kernel {
            // The driver's share of a launch is known, the framework's is not.
            speeds.native = kernel.clone();
        }
        speeds.links.calibrate(gpu, catalog, calibration, index);
        speeds
    }

    /// The type that products in `width` bytes compute in; FP32 on ordinary lanes unless `tf32`.
    pub fn dtype(&self, width: u64) -> Dtype {
        let has = |dtype| self.products.iter().any(|rates| rates.dtype == dtype);
        match width {
            4 => Dtype::Fp32,
            1 if has(Dtype::Fp8) => Dtype::Fp8,
            // Before Ampere there is no BF16, and before Ada no FP8.
            _ if has(Dtype::Bf16) => Dtype::Bf16,
            _ => Dtype::Fp16,
        }
    }

    fn rates(&self, dtype: Dtype) -> Option<&Rates> {
        self.products.iter().find(|rates| rates.dtype == dtype)
    }

    /// The printed dense peak of products in `dtype`.
    pub fn peak(&self, dtype: Dtype) -> Option<FlopsPerSecond> {
        self.rates(dtype).map(|rates| FlopsPerSecond(rates.peak))
    }

    /// Time of `product` in `dtype`, and whether it reads longer than it computes. Where the GPU has no such type, products run in FP16 or BF16.
    ///
    /// Experts side by side are one kernel: as many rows as they have together, each expert's rounded up to a tile, and all their matrices read.
    pub fn product(&self, dtype: Dtype, product: &Product) -> (Prediction, bool) {
        /// Rows of the smallest tile of products, as the matrix units of Hopper have them (PTX: `wgmma.m64nNk16`), and of grouped ones. Where
        /// there is little arithmetic for much bandwidth (H20), a tile that is mostly empty computes longer than its matrix is read.
        const ROWS: u64 = 64;
        const GROUPED: u64 = 16;
        /// Share of the best rate that so small a tile reaches.
        const SMALL: f64 = 0.7;
        let Some(rates) = self.rates(dtype).or_else(|| self.rates(self.dtype(2))) else {
            return (Prediction::within(Seconds(0.0), 1.0, true), false);
        };
        let Product { m, n, k, groups, .. } = *product;
        let rows = if groups == 1 { m } else { groups * m.div_ceil(GROUPED) * GROUPED };
        let bytes = groups as f64 * (rates.width * (m * k + n * k) as f64 + 2.0 * (m * n) as f64);
        let read = bytes / (self.memory_rate() * READ);
        let compute = product.flops().0 / self.best(rates);
        // Ordinary lanes have no tiles to fill.
        let tile = if rates.dtype == Dtype::Fp32 { compute } else { compute * rows.max(ROWS) as f64 / (SMALL * (groups * m) as f64) };
        let (time, spread) = match &rates.model {
            Some(model) => {
                let found = model.time(GemmShape { m: rows, n, k });
                let faster = self.factors[What::Compute as usize].min(self.factors[What::Memory as usize]);
                let spread = found.high.0 / found.time.0;
                // A rate of computing that is published of this GPU leaves the model half of its doubt about that.
                (found.time.0 / faster, if compute > read && rates.best.basis == Basis::MeasuredSameModel { spread.sqrt() } else { spread })
            }
            None => (compute.max(read) + KERNEL, 1.5),
        };
        // The largest rate is corrected where it counts: what reads longer than it computes stays as it is.
        let corrected = if rates.scale < 1.0 { (time * rates.scale).max(time.min(read)) } else { time.max(compute + KERNEL) };
        // What the model does not know: matrices of several experts, and multiprocessors that cannot use the memory in full.
        let grouped = if groups > 1 { read } else { 0.0 };
        let small = if rows < ROWS { tile } else { 0.0 };
        let least = grouped.max(small).max(bytes / self.memory_rate()) + KERNEL;
        (Prediction::within(Seconds(corrected.max(least)), spread, true), read > compute.max(small))
    }

    /// Time of a product with one narrow side, such as an adapter's: it reads and writes its wide side longer than it computes, unless its rank is
    /// of a hundred and more.
    pub fn narrow(&self, dtype: Dtype, product: &Product) -> Prediction {
        /// Share of the best rate that products with one narrow side reach.
        const NARROW: f64 = 0.5;
        let Some(rates) = self.rates(dtype).or_else(|| self.rates(self.dtype(2))) else {
            return Prediction::within(Seconds(0.0), 1.0, true);
        };
        let Product { m, n, k, groups, .. } = *product;
        let bytes = groups as f64 * (rates.width * (m * k + n * k) as f64 + 2.0 * (m * n) as f64);
        let compute = product.flops().0 / (NARROW * self.best(rates));
        Prediction::within(Seconds(compute.max(bytes / (self.memory_rate() * READ)) + KERNEL), 1.5, true)
    }

    /// Time of `product` with a matrix of `packed` bytes that the kernel itself reads, computed in `dtype`.
    pub fn packed(&self, dtype: Dtype, product: &Product, packed: Bytes) -> (Prediction, bool) {
        let (m, n, k, groups) = (product.m as f64, product.n as f64, product.k as f64, product.groups as f64);
        let rest = groups * 2.0 * (m * k + m * n);
        let share = (packed.as_f64() * groups + rest) / (groups * 2.0 * n * k + rest);
        /// Rows of the smallest tile of such kernels.
        const ROWS: f64 = 16.0;
        /// What unpacking leaves of the rate of reading: llama.cpp reads Q4_K_M at 353 GB/s where it reads FP16 at 468.
        const UNPACKED: f64 = 0.75;
        let padded = (m / ROWS).ceil() * ROWS / m;
        let compute = self.rates(dtype).map_or(0.0, |rates| padded * product.flops().0 / (0.7 * self.best(rates)));
        let bytes = groups * 2.0 * (m * k + n * k + m * n);
        let read = bytes / (self.memory_rate() * READ) * share / UNPACKED;
        // Such kernels differ by more than twofold: vLLM's Marlin kernel for AWQ is some 2.6 times as fast as AWQ's own.
        (Prediction::within(Seconds(read.max(compute) + KERNEL), 2.0, true), read > compute)
    }

    /// Time of attention going forward, and whether it reads its cache longer than it computes.
    pub fn attention(&self, work: &AttentionWork, flash: Flash, width: u64) -> (Prediction, bool) {
        let read = self.cache_read(work, width);
        if work.queries == 1 {
            let compute = self.one_query(work, flash, width);
            return (Prediction::within(Seconds(compute.max(read) + KERNEL), 1.5, true), read > compute);
        }
        (self.prefill(work, flash, width, AttentionModel::time), false)
    }

    /// Time of attention going back.
    pub fn attention_backward(&self, work: &AttentionWork, flash: Flash, width: u64) -> Prediction {
        self.prefill(work, flash, width, AttentionModel::backward)
    }

    /// Time of `what` over whole sequences.
    fn prefill(
        &self,
        work: &AttentionWork,
        flash: Flash,
        width: u64,
        what: fn(&AttentionModel, &AttentionShape) -> Prediction,
    ) -> Prediction {
        let Some(model) = &self.attention else { return Prediction::within(Seconds(0.0), 1.0, true) };
        let found = what(model, &AttentionShape::of(work));
        // Where every token sees every other there are twice as many pairs; numbers twice as wide take twice as long.
        let pairs = if work.causal { 1.0 } else { 2.0 };
        let faster = self.factors[What::Compute as usize].min(self.factors[What::Memory as usize]);
        found.times(pairs * (width as f64 / 2.0) * self.slower(flash) / faster)
    }

    /// How much longer older generations of the kernel take than the best for this GPU. Shares of the peak: 25–40 % and 50–73 % on A100
    /// (Dao, arXiv 2307.08691), 35 % and 75 % on H100 (Shah et al., arXiv 2407.08608).
    fn slower(&self, flash: Flash) -> f64 {
        match (flash, self.hopper) {
            (Flash::First, false) => 0.62 / 0.36,
            (Flash::First, true) => 0.75 / 0.20,
            (Flash::Second, true) => 0.75 / 0.35,
            (Flash::Second, false) | (Flash::Latest, _) => 1.0,
        }
    }

    /// Time that the products of one query per sequence need: the context is divided among all multiprocessors, and heads that share keys are
    /// rows of one tile, most of which is empty. A head with keys of its own is multiplied on ordinary lanes as fast as its keys are read.
    fn one_query(&self, work: &AttentionWork, flash: Flash, width: u64) -> f64 {
        /// Rows of the smallest tile of queries.
        const ROWS: f64 = 64.0;
        let group = work.heads as f64 / work.kv_heads.max(1) as f64;
        let padded = if group > 1.0 { (group / ROWS).ceil() * ROWS / group } else { 1.0 };
        padded * work.flops().0 / self.attention_rate(flash, work.head_dim, width)
    }

    /// Operations per second of attention's kernel with much to do.
    fn attention_rate(&self, flash: Flash, head_dim: u64, width: u64) -> f64 {
        let Some(rates) = self.rates(self.dtype(width)) else { return f64::INFINITY };
        // Shares of the printed peak: 25–40 % and 50–73 % on A100 (arXiv 2307.08691), 35 % and 75 % on H100 (arXiv 2407.08608).
        let share = match (flash, self.hopper) {
            (Flash::First, false) => 0.36,
            (Flash::First, true) => 0.20,
            (Flash::Second, true) => 0.35,
            (Flash::Second | Flash::Latest, false) => 0.62,
            (Flash::Latest, true) => 0.62,
        };
        // With half as long heads softmax weighs twice as much against products.
        let narrow = match head_dim {
            0..=64 => 0.85,
            _ => 1.0,
        };
        // A share of the printed peak, and never more than products reach.
        (share * narrow * rates.peak * self.factors[What::Compute as usize]).min(self.best(rates))
    }

    /// Time of reading keys and values, queries and results.
    fn cache_read(&self, work: &AttentionWork, width: u64) -> f64 {
        let seen = work.window.map_or(work.context, |window| window.min(work.context));
        let keys = 2.0 * work.sequences as f64 * seen as f64 * work.kv_heads as f64 * work.head_dim as f64;
        let queries = 2.0 * work.sequences as f64 * work.queries as f64 * work.heads as f64 * work.head_dim as f64;
        width as f64 * (keys + queries) / (self.memory_rate() * READ)
    }

    /// Time of attention that writes its scores out: two products, and a softmax of `bytes` per pair and head.
    pub fn eager(&self, work: &AttentionWork, bytes: f64, width: u64) -> Prediction {
        let Some(rates) = self.rates(self.dtype(width)) else { return Prediction::within(Seconds(0.0), 1.0, true) };
        // Scores are computed for all pairs, those that the mask hides as well.
        let pairs = work.sequences as f64 * work.queries as f64 * work.context as f64 * work.heads as f64;
        let products = 4.0 * pairs * work.head_dim as f64 / (0.6 * self.best(rates));
        Prediction::within(Seconds(products + pairs * bytes / self.memory_rate() + 6.0 * KERNEL), 1.5, true)
    }

    /// Time of elementwise work.
    pub fn elementwise(&self, traffic: Traffic) -> Prediction {
        self.streams(memory_bound::Traffic::Copy, traffic)
    }

    /// Time of unpacking weights: shifts, masks and look-ups of small numbers, which reach the rate of copies less surely. How much less surely is
    /// the least with which nine in ten of 24 published steps of Q-LoRA lie in their intervals (`docs/accuracy.md`).
    pub fn unpacking(&self, traffic: Traffic) -> Prediction {
        const DOUBT: f64 = 1.08;
        let found = self.elementwise(traffic);
        Prediction { low: found.low / DOUBT, high: found.high * DOUBT, ..found }
    }

    /// Time of an optimizer's update.
    pub fn update(&self, traffic: Traffic) -> Prediction {
        self.streams(memory_bound::Traffic::Streams, traffic)
    }

    fn streams(&self, kind: memory_bound::Traffic, traffic: Traffic) -> Prediction {
        let Some(model) = &self.bound else { return Prediction::within(Seconds(0.0), 1.0, true) };
        // The host's part of launches is counted over all kernels of a pass.
        let faster = self.factors[What::Memory as usize] * self.correction;
        let bytes = Bytes((traffic.bytes.as_f64() / faster) as u64);
        model.time_in_graph(kind, bytes, traffic.kernels)
    }

    /// Time of a collective of `bytes` among `gpus`, `per_node` of which share a node.
    pub fn collective(&self, what: Collective, gpus: u64, bytes: Bytes, per_node: u64) -> Prediction {
        self.links.collective(what, gpus, bytes, per_node).times(1.0 / self.factors[What::Links as usize])
    }

    /// Time of a copy from or to host memory.
    pub fn host_copy(&self, bytes: Bytes) -> Prediction {
        self.links.copy(bytes).times(1.0 / self.factors[What::HostLink as usize])
    }

    /// Time of the host's processors for moving `bytes` of their memory.
    pub fn host_memory(&self, bytes: f64) -> Prediction {
        /// Share of its memory's rate that the host's update of an optimizer reaches.
        const REACHED: f64 = 0.6;
        let rate = REACHED * self.links.host_memory.value.0 * self.factors[What::HostMemory as usize];
        Prediction::within(Seconds(bytes / rate), 1.6, true)
    }

    /// Rate of copies inside device memory.
    fn memory_rate(&self) -> f64 {
        self.memory.value.0 * self.factors[What::Memory as usize]
    }

    /// The best rate of products.
    fn best(&self, rates: &Rates) -> f64 {
        rates.best.value.0 * self.factors[What::Compute as usize]
    }

    /// The host's time for launching `kernels`.
    pub fn launches(&self, kernels: u64, how: Launching) -> Prediction {
        match how {
            Launching::Python => self.on_host(&self.python, kernels),
            Launching::Native => self.on_host(&self.native, kernels),
            // Kernels of a graph follow each other without the host.
            Launching::Graph => self.on_host(&self.python, 0),
        }
    }

    /// The host's time between two steps of a server, which takes the tokens, answers with them and chooses what runs next.
    pub fn between_steps(&self) -> Prediction {
        self.on_host(&self.server, 1)
    }

    fn on_host(&self, each: &Figure<Seconds>, times: u64) -> Prediction {
        let (time, low, high) = (each.value, each.low, each.high);
        let faster = self.factors[What::Launch as usize];
        Prediction { time, low, high, extrapolated: true }.times(times as f64 / faster)
    }

    /// What the numbers come from: quantity, basis, sources. `shared`: GPUs send each other messages; `host`: something lives in host memory.
    pub fn basis(&self, dtype: Dtype, how: Launching, shared: bool, host: bool) -> Vec<(&'static str, Basis, String)> {
        fn source<Q>(name: &'static str, figure: &Figure<Q>) -> (&'static str, Basis, String) {
            (name, figure.basis, figure.from.join("; "))
        }
        let mut all: Vec<_> = self.rates(dtype).map(|rates| source("matrix products", &rates.best)).into_iter().collect();
        all.push(source("device memory", &self.memory));
        all.push(("attention", Basis::Assumed, "published shares of the peak by generation of flash attention".to_owned()));
        match how {
            Launching::Python => all.push(source("kernel launches", &self.python)),
            Launching::Native => all.push(source("kernel launches", &self.native)),
            Launching::Graph => all.push(source("steps of a server", &self.server)),
        }
        if shared {
            all.extend(self.links.basis());
        }
        if host {
            all.extend(self.links.host_basis());
        }
        all
    }

    /// The same GPU joined to others as documents say of `gpu`: the same board with other links.
    #[must_use]
    pub fn relinked(&self, gpu: &GpuModel, catalog: &Catalog) -> Self {
        Self { links: Links::assumed(gpu, catalog, None), ..self.clone() }
    }

    /// The same machine with one of its speeds multiplied by `factor`: for what-if questions and for the law that faster is never slower.
    #[must_use]
    pub fn faster(&self, what: What, factor: f64) -> Self {
        let mut speeds = self.clone();
        speeds.factors[what as usize] *= factor;
        speeds
    }
}
