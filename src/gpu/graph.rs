//! Graphs: a sequence of launches handed to the device at once, which costs it less per launch than a stream does.

use cudarc::driver::sys::{CUgraph, CUgraphExec, CUstreamCaptureMode};

use super::device::Gpu;
use super::failure::Doing;
use super::kernel::{Kernel, Shape};
use super::stream::{Stream, Uses};
use crate::error::{Error, Result};

/// A sequence of launches, ready to be run any number of times.
pub struct Graph {
    gpu: Gpu,
    raw: CUgraphExec,
    launches: u32,
    uses: Uses,
}

// SAFETY: the driver allows an executable graph on any thread, one at a time; launching takes `&mut`.
unsafe impl Send for Graph {}

impl Graph {
    /// `launches` launches of a kernel, one after the other. The kernel may have no array among its arguments: a graph outlives the borrow
    /// that a launch takes.
    ///
    /// # Errors
    /// [`Error::Usage`] for a kernel with arrays, otherwise as [`Stream::launch`]; [`Error::Gpu`] also when the driver has no graphs.
    pub fn repeating<K: Kernel>(stream: &Stream, kernel: &K, shape: Shape, launches: u32) -> Result<Self> {
        if kernel.arguments().has_arrays() {
            return Err(Error::usage(format!("making a graph of {}: expected a kernel without arrays", K::NAME)));
        }
        let gpu = stream.gpu();
        // Loading code is not allowed while a stream records.
        gpu.resident_blocks::<K>(shape.block[0], shape.shared)?;
        let doing = || format!("making a graph of {} on GPU {}", K::NAME, gpu.ordinal());
        let mode = CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
        // SAFETY: the stream lives, and no work of others is enqueued on it while this function runs.
        stream.enter().and_then(|()| unsafe { gpu.api().cuStreamBeginCapture_v2(stream.raw(), mode) }).doing(doing)?;
        let recorded = (0..launches).try_for_each(|_| stream.launch(kernel, shape));
        let mut graph: CUgraph = std::ptr::null_mut();
        // Ended even when a launch failed, or the stream would record for ever.
        // SAFETY: the pointer is valid for one handle, and the stream records.
        let ended = stream.enter().and_then(|()| unsafe { gpu.api().cuStreamEndCapture(stream.raw(), &raw mut graph) });
        let mut raw: CUgraphExec = std::ptr::null_mut();
        let made = recorded.and_then(|()| {
            // SAFETY: the pointer is valid for one handle, and the graph was just recorded. No flags.
            ended.and_then(|()| unsafe { gpu.api().cuGraphInstantiateWithFlags(&raw mut raw, graph, 0) }).doing(doing)
        });
        if !graph.is_null() {
            // SAFETY: recorded above, destroyed once; the executable one is a copy.
            let _ = unsafe { gpu.api().cuGraphDestroy(graph) };
        }
        made?;
        Ok(Self { gpu: gpu.clone(), raw, launches, uses: Uses::default() })
    }

    /// Launches in it.
    pub const fn launches(&self) -> u32 {
        self.launches
    }

    /// Enqueues all of it.
    ///
    /// # Errors
    /// [`Error::Usage`] for a stream of another GPU, [`Error::Gpu`] when the call fails.
    pub fn launch(&mut self, stream: &Stream) -> Result<()> {
        if !self.gpu.is(stream.gpu()) {
            return Err(Error::usage("launching a graph: expected a stream of the GPU that it was made for"));
        }
        self.uses.mark(stream);
        stream
            .enter()
            // SAFETY: both handles live, and the graph remembers the stream until it is destroyed.
            .and_then(|()| unsafe { self.gpu.api().cuGraphLaunch(self.raw, stream.raw()) })
            .doing(|| format!("launching a graph on GPU {}", self.gpu.ordinal()))
    }
}

impl std::fmt::Debug for Graph {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Graph of {} launches on GPU {}", self.launches, self.gpu.ordinal())
    }
}

impl Drop for Graph {
    fn drop(&mut self) {
        self.uses.wait_before_freeing();
        self.gpu.enter_to_give_back();
        // SAFETY: made here, destroyed once, and no stream runs it any more.
        let _ = unsafe { self.gpu.api().cuGraphExecDestroy(self.raw) };
    }
}
