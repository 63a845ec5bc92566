//! Kernels and copies on a GPU: our own regressions, timed by the device's clock behind a gate, as the probes time them.
//!
//! Criterion asks for as many iterations as it wants and gets the time that the device took for them, through [`DeviceTime`]; what the host does
//! meanwhile is not in it. Without a GPU the benchmark says why and ends well.
//!
//! `cargo bench --bench gpu` on the machine; `GPU_ASSAY_BENCH_GPU` chooses another GPU than the first.

#![allow(missing_docs)]
#![allow(clippy::print_stdout)] // A benchmark talks to the person at the terminal.

use std::cell::RefCell;
use std::error::Error;

use criterion::measurement::{Measurement, ValueFormatter};
use criterion::{Bencher, BenchmarkGroup, Criterion, Throughput};
use gpu_assay::error::Result;
use gpu_assay::gpu::prebuilt::GEMM_LAUNCH;
use gpu_assay::gpu::{
    DeviceBuffer, Driver, Empty, Event, FillUniformBf16, Float4, GemmBf16, Gpu, In, Out, PinnedBuffer, Shape, Stream, StreamCopy,
    StreamRead, StreamTriad,
};
use gpu_assay::measure::{Clock, GpuClock, Trial, Work};
use gpu_assay::units::{Bytes, Seconds};

/// Threads of a block of the kernels that stride over their data.
const BLOCK: u32 = 256;

/// Largest array; a smaller GPU gets an eighth of what is free.
const ARRAY: Bytes = Bytes::gib(1);

/// Edge of the square product.
const EDGE: u32 = 4096;

/// Seconds on the device's clock.
struct DeviceTime {
    stream: Stream,
    format: Format,
}

impl Measurement for DeviceTime {
    /// An event before the work, where the device could give one.
    type Intermediate = Option<Event>;
    type Value = Seconds;

    fn start(&self) -> Self::Intermediate {
        let event = self.stream.gpu().event().ok()?;
        self.stream.record(&event).ok().map(|()| event)
    }

    fn end(&self, start: Self::Intermediate) -> Seconds {
        let since = |start: Event| {
            let end = self.stream.gpu().event()?;
            self.stream.record(&end)?;
            self.stream.synchronize()?;
            end.since(&start)
        };
        start.and_then(|start| since(start).ok()).unwrap_or(Seconds(f64::NAN))
    }

    fn add(&self, one: &Seconds, other: &Seconds) -> Seconds {
        *one + *other
    }

    fn zero(&self) -> Seconds {
        Seconds(0.0)
    }

    fn to_f64(&self, value: &Seconds) -> f64 {
        value.0
    }

    fn formatter(&self) -> &dyn ValueFormatter {
        &self.format
    }
}

/// Seconds in the unit that suits them, rates in decimal units.
struct Format;

/// The largest of some units that is not larger than `value`.
fn unit(value: f64, units: &[(f64, &'static str)]) -> (f64, &'static str) {
    units.iter().copied().rfind(|(size, _)| value >= *size).unwrap_or(units[0])
}

impl ValueFormatter for Format {
    fn scale_values(&self, typical: f64, values: &mut [f64]) -> &'static str {
        let (size, name) = unit(typical, &[(1e-9, "ns"), (1e-6, "µs"), (1e-3, "ms"), (1.0, "s")]);
        values.iter_mut().for_each(|value| *value /= size);
        name
    }

    fn scale_throughputs(&self, typical: f64, throughput: &Throughput, values: &mut [f64]) -> &'static str {
        let (amount, units): (f64, [(f64, &'static str); 3]) = match throughput {
            Throughput::Elements(operations) => (*operations as f64, [(1.0, "FLOP/s"), (1e9, "GFLOP/s"), (1e12, "TFLOP/s")]),
            Throughput::Bytes(bytes) | Throughput::BytesDecimal(bytes) => (*bytes as f64, [(1.0, "B/s"), (1e6, "MB/s"), (1e9, "GB/s")]),
            _ => (1.0, [(1.0, "1/s"), (1e3, "10³/s"), (1e6, "10⁶/s")]),
        };
        let (size, name) = unit(amount / typical, &units);
        values.iter_mut().for_each(|value| *value = amount / *value / size);
        name
    }

    fn scale_for_machines(&self, _values: &mut [f64]) -> &'static str {
        "s"
    }
}

/// One launch or copy, over and over.
struct Repeated<'a>(&'a dyn Fn() -> Result<()>);

impl Trial for Repeated<'_> {
    fn enqueue(&mut self, iterations: u64) -> Result<()> {
        (0..iterations).try_for_each(|_| (self.0)())
    }

    fn work(&self) -> Work {
        Work::moving(Bytes(1))
    }

    fn check(&mut self) -> Result<Option<String>> {
        Ok(None)
    }
}

/// The GPU, and what went wrong on it first.
struct Bench {
    gpu: Gpu,
    stream: Stream,
    clock: RefCell<GpuClock>,
    failure: RefCell<Option<gpu_assay::error::Error>>,
}

impl Bench {
    /// Times `once` as criterion asks; a failure is kept and ends the benchmark afterwards.
    fn time(&self, bencher: &mut Bencher<'_, DeviceTime>, once: &dyn Fn() -> Result<()>) {
        let mut rehearsed = false;
        bencher.iter_custom(|iterations| {
            let mut clock = self.clock.borrow_mut();
            let mut trial = Repeated(once);
            let timed = if rehearsed { Ok(()) } else { clock.rehearse(&mut trial) }.and_then(|()| clock.time(&mut trial, iterations));
            rehearsed = true;
            timed.unwrap_or_else(|error| {
                self.failure.borrow_mut().get_or_insert(error);
                // Criterion wants a time; what it says of this one is not shown as the program ends with the error.
                Seconds(1.0)
            })
        });
    }

    fn array(&self, bytes: Bytes) -> Result<DeviceBuffer> {
        let array = self.gpu.allocate(bytes)?;
        self.stream.set(array.view::<u8>(), 0)?;
        Ok(array)
    }

    /// Uniform BF16 numbers.
    fn uniform(&self, elements: u64, seed: u64) -> Result<DeviceBuffer> {
        let array = self.gpu.allocate_elements::<u16>(elements)?;
        let fill = FillUniformBf16 { out: array.output(), n: elements, seed, scale: 1.0 };
        self.stream.launch(&fill, self.gpu.filling::<FillUniformBf16<'_>>(BLOCK)?)?;
        Ok(array)
    }

    fn launches(&self, group: &mut Group<'_>) {
        group.bench_function("empty kernel", |bencher| self.time(bencher, &|| self.stream.launch(&Empty {}, Shape::line(1, 1))));
    }

    fn streams(&self, group: &mut Group<'_>, bytes: Bytes) -> Result<()> {
        let [a, b, c] = [self.array(bytes)?, self.array(bytes)?, self.array(bytes)?];
        let sink = self.gpu.allocate_elements::<u32>(4)?;
        let vectors = bytes.0 / size_of::<Float4>() as u64;
        let (reading, copying, adding) = (
            self.gpu.filling::<StreamRead<'_>>(BLOCK)?,
            self.gpu.filling::<StreamCopy<'_>>(BLOCK)?,
            self.gpu.filling::<StreamTriad<'_>>(BLOCK)?,
        );
        group.throughput(Throughput::BytesDecimal(bytes.0));
        group.bench_function("read", |bencher| {
            self.time(bencher, &|| self.stream.launch(&StreamRead { a: a.input(), vectors, sink: sink.output() }, reading));
        });
        group.throughput(Throughput::BytesDecimal(2 * bytes.0));
        group.bench_function("copy", |bencher| {
            self.time(bencher, &|| self.stream.launch(&StreamCopy { a: a.input(), c: c.output(), vectors }, copying));
        });
        group.throughput(Throughput::BytesDecimal(3 * bytes.0));
        group.bench_function("triad", |bencher| {
            let triad = StreamTriad { b: b.input(), c: c.input(), a: a.output(), vectors, s: 2.0 };
            self.time(bencher, &|| self.stream.launch(&triad, adding));
        });
        Ok(())
    }

    fn copies(&self, group: &mut Group<'_>, bytes: Bytes) -> Result<()> {
        let (device, mut host) = (self.array(bytes)?, self.gpu.allocate_pinned(bytes)?);
        group.throughput(Throughput::BytesDecimal(bytes.0));
        group.bench_function("host to device, pinned", |bencher| self.time(bencher, &|| self.stream.upload(device.view(), host.source())));
        let host = RefCell::new(&mut host);
        group.bench_function("device to host, pinned", |bencher| {
            self.time(bencher, &|| self.stream.download(PinnedBuffer::target(&mut host.borrow_mut()), device.view()));
        });
        Ok(())
    }

    fn products(&self, group: &mut Group<'_>) -> Result<()> {
        if !self.gpu.has_kernel::<GemmBf16<'_>>() {
            println!("gpu/bf16 product: waived: this chip has no tensor cores for BF16");
            return Ok(());
        }
        let elements = u64::from(EDGE) * u64::from(EDGE);
        let [a, b, c] = [self.uniform(elements, 1)?, self.uniform(elements, 2)?, self.uniform(elements, 3)?];
        let product = GemmBf16 { a: In(a.view()), b: In(b.view()), c: Out(c.view()), m: EDGE, n: EDGE, k: EDGE };
        let blocks = EDGE.div_ceil(GEMM_LAUNCH.tile_m) * EDGE.div_ceil(GEMM_LAUNCH.tile_n);
        let shape = Shape { shared: GEMM_LAUNCH.shared_bytes, ..Shape::line(blocks, GEMM_LAUNCH.block) };
        group.throughput(Throughput::Elements(2 * elements * u64::from(EDGE)));
        group.bench_function(format!("bf16 product, {EDGE}³, mma.sync"), |bencher| {
            self.time(bencher, &|| self.stream.launch(&product, shape));
        });
        Ok(())
    }
}

type Group<'a> = BenchmarkGroup<'a, DeviceTime>;

/// The GPU that was asked for, or why there is none.
fn open() -> std::result::Result<Gpu, Box<dyn Error>> {
    let driver = Driver::open()?;
    let wanted = std::env::var("GPU_ASSAY_BENCH_GPU").map_or(Ok(0), |text| text.parse::<u32>())?;
    Ok(Gpu::open(&driver, wanted)?)
}

fn main() -> std::result::Result<(), Box<dyn Error>> {
    let gpu = match open() {
        Ok(gpu) => gpu,
        Err(why) => {
            println!("gpu: waived: {why}");
            return Ok(());
        }
    };
    let stream = gpu.stream()?;
    let (free, _) = gpu.memory()?;
    let bytes = Bytes(ARRAY.0.min(free.0 / 8) >> 20 << 20);
    let time = DeviceTime { stream: stream.clone(), format: Format };
    let bench = Bench { clock: RefCell::new(GpuClock::with_stream(stream.clone())?), stream, gpu, failure: RefCell::default() };
    let mut criterion = Criterion::default().with_measurement(time).configure_from_args();
    let mut group = criterion.benchmark_group("gpu");
    bench.launches(&mut group);
    bench.streams(&mut group, bytes)?;
    bench.copies(&mut group, bytes)?;
    bench.products(&mut group)?;
    group.finish();
    criterion.final_summary();
    bench.failure.into_inner().map_or(Ok(()), |error| Err(error.into()))
}
