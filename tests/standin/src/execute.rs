//! Kernels and library products on the machine: bounds, contents, and true time.
//!
//! A launch may only touch memory of its own device, of devices it may reach, and page-locked host memory; anything else is the illegal
//! address that it would be. Time follows from the bytes and operations of the launch and from where its data lies: in the second-level
//! cache if everything it touches was touched within the last cache-full of traffic, else in memory, or at the other end of a link.

use crate::code::Cu;
use crate::gemm::{Format, Product};
use crate::kernels::{Effect, Launch, Stream, Work};
use crate::machine::{Key, LibraryProduct, Machine, Span, Task};
use crate::memory::Place;
use crate::scenario::{Gpu, Matmul, ProductShape, Tile};
use crate::timeline::{Engine, Load, Resource};

/// A ring longer than this is taken to be broken; the elements lie a cache line apart.
const LONGEST_RING: usize = 1 << 28;

/// Bytes between two elements of a ring.
const LINE: usize = 128;

/// What the check of a spoiled product sums up to, where products are not computed: far from the zeros of the rest.
const WRONG_SUM: f64 = 1e6;

impl Machine {
    pub(crate) fn launch(&mut self, task: &Task, launch: &Launch, factor: f64) -> Result<Load, Cu> {
        let effect = launch.effect(|at| self.memory.rest(at))?;
        for span in effect.reads.iter().chain(&effect.writes) {
            self.check_reach(task.device, *span)?;
        }
        let ns = self.kernel_ns(task, launch, &effect)?;
        let load = self.load(task, launch, &effect, ns);
        self.execute(task, launch, &effect);
        if let Work::Chases { .. } = effect.work {
            self.count_cycles(task.device, launch, ns * factor);
        }
        Ok(load)
    }

    pub(crate) fn library_product(&mut self, task: &Task, library: &LibraryProduct) -> Result<Load, Cu> {
        let mut product = library.product;
        let spans = product.spans().map(|(at, bytes)| Span { at, bytes });
        for span in spans.iter().copied().chain(library.scales.iter().map(|at| Span { at: *at, bytes: 4 })) {
            self.check_reach(task.device, span)?;
        }
        for span in &library.blocks {
            self.check_reach(task.device, *span)?;
            // SAFETY: just checked to lie in a live mapping.
            let scales = unsafe { std::slice::from_raw_parts(span.at as *const u8, span.bytes) };
            // How they lie is not imitated: they have to be all alike.
            product.factor *= crate::gemm::common_e4m3(scales).ok_or(Cu::INVALID_VALUE)?;
        }
        for at in &library.scales {
            // SAFETY: just checked to be four bytes inside a live mapping.
            product.factor *= unsafe { (*at as *const f32).read() };
        }
        // Where the beginnings are zeros, all is taken to be, unless nothing is ever computed.
        // SAFETY: checked to lie in live mappings, and no more than they have.
        let begins = |span: Span| unsafe { std::slice::from_raw_parts(span.at as *const u8, span.bytes.min(256)) };
        let zeros = self.scenario.driver.products && spans[..2].iter().all(|span| begins(*span).iter().all(|byte| *byte == 0));
        let reads = [spans[0], spans[1]];
        let words = [product.rows, product.cols, product.depth, product.a.row, product.b.row, product.c.row];
        let mut key: Vec<u64> = spans.iter().map(|span| span.at as u64).chain(words.map(|word| word as u64)).collect();
        key.extend([product.a.format as u64, product.b.format as u64, product.a.step as u64, product.b.step as u64]);
        key.extend([product.c.step as u64, u64::from(product.factor.to_bits())]);
        if self.scenario.driver.products {
            self.once(("library product", key), &reads, &spans[2..], task.damage, || {
                // SAFETY: the spans were checked to lie in live mappings, and the driver's mutex keeps others out.
                unsafe { product.run(workers()) }
            });
        } else {
            self.result_of_nothing(&spans[2..], task.damage.is_some());
        }
        let gpu = &self.scenario.gpus[task.device];
        let format = if product.a.format == Format::E5m2 { Format::E5m2 } else { product.b.format };
        let ns = product_ns(gpu, gpu.cublaslt.as_ref().ok_or(Cu::NOT_FOUND)?, format, product.shape())? * library.slowness
            / self.clock(task.device);
        let ns = if zeros { ns * gpu.cublaslt.map_or(1.0, |rates| rates.zeros) } else { ns };
        Ok(Load { resource: Some(Resource::Device(task.device)), amount: ns, floor_ns: floor_ns(gpu, task) })
    }

    /// Refuses what a kernel on `device` cannot reach.
    pub(crate) fn check_reach(&self, device: usize, span: Span) -> Result<(), Cu> {
        if span.bytes == 0 {
            return Ok(());
        }
        match self.memory.place(span.at, span.bytes) {
            Some(Place::Device(other)) if other == device || self.peers[device].contains(&other) => Ok(()),
            Some(Place::Pinned | Place::Registered) => Ok(()),
            _ => Err(Cu::ILLEGAL_ADDRESS),
        }
    }

    fn execute(&mut self, task: &Task, launch: &Launch, effect: &Effect) {
        let of_a_product = ["gemm_", "matvec_", "fill_uniform_"].iter().any(|start| launch.name.starts_with(start));
        if of_a_product && !self.scenario.driver.products {
            return self.pretend(task, launch, effect);
        }
        if launch.name.ends_with("_pattern") && !self.scenario.driver.patterns && task.damage.is_none() {
            return;
        }
        if let Some(product) = launch.product() {
            self.execute_product(task, &product, effect);
            return;
        }
        let mut key: Key = (launch.name, launch.arguments.clone());
        if !launch.accumulates() {
            // A chase writes how long it took, and a matrix-vector product adds to its result: neither may be skipped.
            if matches!(effect.work, Work::Chases { .. }) || launch.name.starts_with("matvec") {
                key.1.push(self.executed);
            }
            self.once(key, &effect.reads, &effect.writes, task.damage, || {
                // SAFETY: all spans were checked to lie in live mappings, and the driver's mutex keeps others out.
                unsafe { launch.run() }
            });
            return;
        }
        key.1.push(launch.blocks);
        let stamps: Vec<_> = effect.reads.iter().map(|span| self.stamp(*span)).collect();
        let known = self.differences.get(&key).filter(|(then, _)| *then == stamps).map(|(_, difference)| *difference);
        let difference = known.unwrap_or_else(|| {
            self.executed += 1;
            // SAFETY: as above.
            unsafe { launch.difference() }
        });
        if self.differences.len() > 4096 {
            self.differences.clear();
        }
        self.differences.insert(key, (stamps, difference));
        // SAFETY: as above.
        unsafe { launch.accumulate(difference) };
        self.wrote(&effect.writes);
        if let Some(damage) = task.damage {
            damage.befall(&effect.writes);
        }
    }

    /// A product, its factors or its check where nobody computes them: nothing is touched, but a spoiled product's check comes out wrong.
    fn pretend(&mut self, task: &Task, launch: &Launch, effect: &Effect) {
        if launch.name.starts_with("gemm_") {
            return self.result_of_nothing(&effect.writes, task.damage.is_some());
        }
        let reads_spoiled = effect.reads.iter().any(|read| self.spoiled.iter().any(|spoiled| spoiled.overlaps(*read)));
        if launch.name.starts_with("matvec_") && (reads_spoiled || task.damage.is_some()) {
            for span in effect.writes.iter().filter(|span| span.bytes >= 8) {
                let middle = span.at + span.bytes / 16 * 8;
                // SAFETY: the span was checked to lie in a live mapping, and the driver's mutex keeps others out. A check's sums are FP64.
                unsafe { (middle as *mut f64).write_unaligned(WRONG_SUM) };
            }
            self.wrote(&effect.writes);
        }
    }

    /// Notes whether a result that nobody computed is as it would be, or spoiled.
    fn result_of_nothing(&mut self, writes: &[Span], spoiled: bool) {
        self.spoiled.retain(|known| !writes.iter().any(|write| write.overlaps(*known)));
        if spoiled {
            self.spoiled.extend(writes);
        }
    }

    /// A product by one of the own kernels; which one does not matter to the result. Those for Hopper do nothing when their note is set.
    fn execute_product(&mut self, task: &Task, product: &Product, effect: &Effect) {
        let Some((result, notes)) = effect.writes.split_first() else { return };
        // SAFETY: the spans were checked to lie in live mappings.
        if notes.iter().any(|note| unsafe { (note.at as *const u32).read_unaligned() } != 0) {
            return;
        }
        let extents = [product.rows, product.cols, product.depth].map(|extent| extent as u64);
        let places = [product.a.at, product.b.at, product.c.at].map(|at| at as u64);
        let key: Key = ("product", [&places[..], &extents[..], &[product.a.format as u64]].concat());
        self.once(key, &effect.reads, &[*result], None, || {
            // SAFETY: the spans were checked to lie in live mappings, and the driver's mutex keeps others out.
            unsafe { product.run(workers()) }
        });
        if let Some(damage) = task.damage {
            damage.befall(&effect.writes);
            self.wrote(&effect.writes);
        }
    }

    /// Time of the launch alone on its device, with its data there.
    fn kernel_ns(&mut self, task: &Task, launch: &Launch, effect: &Effect) -> Result<f64, Cu> {
        let cached = self.touch(task.device, effect);
        if let Work::Chases { steps, past_l1 } = effect.work {
            let bytes = self.ring_bytes(launch)?;
            let gpu = &self.scenario.gpus[task.device];
            let home = self.device_of(effect.reads[0].at);
            let set = bytes as u64;
            let step_ns = if let Some(other) = home.filter(|other| *other != task.device) {
                self.scenario.link(other, task.device).map_or(0.0, |link| link.latency_us * 1e3)
            } else if home.is_none() {
                gpu.host_link.load_us() * 1e3
            } else if !past_l1 && set <= gpu.l1_bytes() {
                gpu.cache.l1_ns
            } else if set <= gpu.l2_bytes() {
                gpu.cache.l2_ns
            } else {
                gpu.cache.dram_ns
            };
            #[expect(clippy::cast_precision_loss, reason = "below 2^53")]
            let ns = steps as f64 * step_ns;
            return Ok(ns);
        }
        let gpu = &self.scenario.gpus[task.device];
        Ok(match effect.work {
            Work::Moves { bytes, stream } => {
                let share = if launch.name.starts_with("bulk_") { gpu.dram.bulk_share } else { 1.0 };
                let rate = if cached { gpu.cache.l2_read_gbs } else { stream_rate(gpu, stream) * share };
                bytes / rate
            }
            Work::Sweeps { sweeps } => {
                let set = effect.reads[0].bytes;
                let fits = set as u64 <= gpu.l2_bytes();
                let rate = if fits { gpu.cache.l2_read_gbs } else { gpu.dram.read_gbs };
                #[expect(clippy::cast_precision_loss, reason = "below 2^53")]
                let bytes = set as f64 * sweeps;
                bytes / rate
            }
            Work::Multiplies { shape, format, tile: None } => product_ns(gpu, &gpu.matmul, format, shape)? / self.clock(task.device),
            Work::Multiplies { shape, format, tile: Some(tile) } => hopper_ns(gpu, format, shape, tile)? / self.clock(task.device),
            Work::Computes { operations, pipe } => pipe.ns(gpu, operations) / self.clock(task.device),
            Work::Nothing | Work::Chases { .. } => 0.0,
        })
    }

    /// Whether everything the launch touches is in the second-level cache; notes the touch.
    fn touch(&mut self, device: usize, effect: &Effect) -> bool {
        let before = self.traffic[device];
        let spans: Vec<Span> = effect.reads.iter().chain(&effect.writes).copied().collect();
        let bytes: u64 = spans.iter().map(|span| span.bytes as u64).sum();
        let after = before + bytes;
        let limit = self.scenario.gpus[device].l2_bytes();
        // Accumulators of a few bytes say nothing about where the data is.
        let recent = |span: &&Span| self.touched.get(&(device, **span)).is_some_and(|then| after - then <= limit + bytes);
        let large: Vec<&Span> = spans.iter().filter(|span| span.bytes > 64).collect();
        let cached = bytes <= limit && !large.is_empty() && large.iter().all(recent);
        if self.touched.len() > 65_536 {
            self.touched.clear();
        }
        for span in spans {
            self.touched.insert((device, span), before);
        }
        self.traffic[device] = after;
        cached
    }

    /// What the launch draws on: the link if data lies elsewhere, else its own device.
    fn load(&self, task: &Task, launch: &Launch, effect: &Effect, ns: f64) -> Load {
        let gpu = &self.scenario.gpus[task.device];
        let here = Load { resource: Some(Resource::Device(task.device)), amount: ns, floor_ns: floor_ns(gpu, task) };
        if !launch.name.starts_with("stream_") && !launch.name.ends_with("_pattern") && launch.name != "verify_equal" {
            return here;
        }
        let inbound = effect.reads.iter().map(|span| (span, true));
        let outbound = effect.writes.iter().map(|span| (span, false));
        let remote = inbound.chain(outbound).filter(|(span, _)| self.device_of(span.at) != Some(task.device) && span.bytes > 64);
        let Some((span, inbound)) = remote.max_by_key(|(span, _)| span.bytes) else { return here };
        let resource = match self.device_of(span.at) {
            None => Resource::Host { device: task.device, up: inbound, pageable: false },
            Some(other) if inbound => Resource::Peer { from: other, to: task.device, engine: Engine::Kernel },
            Some(other) => Resource::Peer { from: task.device, to: other, engine: Engine::Kernel },
        };
        #[expect(clippy::cast_precision_loss, reason = "below 2^53")]
        let amount = span.bytes as f64 / self.share_of_link(task.device, span.at);
        Load { resource: Some(resource), amount, ..here }
    }

    /// Bytes of the ring that a chase follows: one line per element. Every index is checked.
    fn ring_bytes(&mut self, launch: &Launch) -> Result<usize, Cu> {
        let (next, start) = (usize::try_from(launch.arguments[0]).map_err(|_| Cu::ILLEGAL_ADDRESS)?, launch.arguments[1]);
        let start = u32::try_from(start).map_err(|_| Cu::ILLEGAL_ADDRESS)?;
        let stamp = self.stamp(Span { at: next, bytes: self.memory.rest(next) });
        if let Some((then, bytes)) = self.rings.get(&(next, start))
            && *then == stamp
        {
            return Ok(*bytes);
        }
        let words = self.memory.rest(next) / 4;
        let (mut index, mut length, mut least, mut most) = (start, 0usize, start, start);
        loop {
            if index as usize >= words {
                return Err(Cu::ILLEGAL_ADDRESS);
            }
            // SAFETY: the index has just been checked against the end of the live mapping.
            index = unsafe { (next as *const u32).add(index as usize).read() };
            (least, most) = (least.min(index), most.max(index));
            length += 1;
            if index == start || length >= LONGEST_RING.min(words.max(1)) {
                break;
            }
        }
        // A ring with more than one element per line takes no more lines than it spans.
        let bytes = (length * LINE).min((most - least) as usize * 4 + LINE);
        self.rings.insert((next, start), (stamp, bytes));
        Ok(bytes)
    }

    /// What the chase kernel's clock would have counted.
    fn count_cycles(&mut self, device: usize, launch: &Launch, ns: f64) {
        let clock_mhz = f64::from(self.scenario.gpus[device].clocks.sm_mhz) * self.clock(device);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "positive and far below 2^63")]
        let cycles = (ns * clock_mhz * 1e-3).round() as u64;
        if let Ok(at) = usize::try_from(launch.arguments[4]) {
            // SAFETY: the span of this argument was checked to lie in a live mapping.
            unsafe { (at as *mut u64).write_unaligned(cycles) };
        }
    }
}

fn workers() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from).min(4)
}

/// The least time of a kernel in a busy stream.
fn floor_ns(gpu: &Gpu, task: &Task) -> f64 {
    1e3 * if task.in_graph { gpu.launch.graph_kernel_us } else { gpu.launch.kernel_us }
}

fn stream_rate(gpu: &Gpu, stream: Stream) -> f64 {
    match stream {
        Stream::Read => gpu.dram.read_gbs,
        Stream::Write => gpu.dram.write_gbs,
        Stream::Copy => gpu.dram.copy_gbs,
        Stream::Scale => gpu.dram.scale_gbs,
        Stream::Add => gpu.dram.add_gbs,
        Stream::Triad => gpu.dram.triad_gbs,
    }
}

fn product_ns(gpu: &Gpu, rates: &Matmul, format: Format, shape: ProductShape) -> Result<f64, Cu> {
    Ok(gpu.product_seconds(rates, format.rate(rates).ok_or(Cu::NO_BINARY_FOR_GPU)?, shape) * 1e9)
}

/// Share of `matmul`'s rates at which the kernels for Hopper run where the scenario does not say: nothing that chooses by time takes them.
const UNSAID: f64 = 0.8;

fn hopper_ns(gpu: &Gpu, format: Format, shape: ProductShape, tile: Tile) -> Result<f64, Cu> {
    let seconds = match &gpu.hopper {
        Some(rates) => gpu.tile_seconds(rates, format.rate(rates).ok_or(Cu::NO_BINARY_FOR_GPU)?, shape, tile),
        None => gpu.product_seconds(&gpu.matmul, format.rate(&gpu.matmul).ok_or(Cu::NO_BINARY_FOR_GPU)?, shape) / UNSAID,
    };
    Ok(seconds * 1e9)
}
