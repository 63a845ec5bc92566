//! Recording a stream into a graph and launching it.

use std::ffi::c_char;

use super::cuda;
use crate::code::Cu;
use crate::driver::{Driver, put};
use crate::machine::Task;
use crate::timeline::Step;

cuda!(cuStreamBeginCapture_v2 |d| (stream: u64, mode: i32) {
    let stream = d.stream(stream)?;
    if d.default_streams.contains(&Some(stream)) {
        return Err(Cu::STREAM_CAPTURE_UNSUPPORTED);
    }
    let info = d.streams.get_mut(&stream).ok_or(Cu::INVALID_HANDLE)?;
    if info.capture.replace(Vec::new()).is_some() {
        return Err(Cu::STREAM_CAPTURE_INVALIDATED);
    }
    Ok(())
});

cuda!(cuStreamEndCapture |d| (stream: u64, graph: *mut u64) {
    let stream = d.stream(stream)?;
    let steps = d.streams.get_mut(&stream).and_then(|info| info.capture.take()).ok_or(Cu::INVALID_VALUE)?;
    let handle = d.fresh();
    put(graph, handle)?;
    d.graphs.insert(handle, steps);
    Ok(())
});

cuda!(cuGraphInstantiateWithFlags |d| (executable: *mut u64, graph: u64, flags: u64) {
    d.instantiate(executable, graph)
});

cuda!(cuGraphInstantiate_v2 |d| (executable: *mut u64, graph: u64, node: *mut u64, log: *mut c_char, length: usize) {
    d.instantiate(executable, graph)
});

cuda!(cuGraphUpload |d| (executable: u64, stream: u64) {
    d.executables.get(&executable).map(drop).ok_or(Cu::INVALID_HANDLE)
});

cuda!(cuGraphLaunch |d| (executable: u64, stream: u64) {
    let stream = d.stream(stream)?;
    let device = d.stream_device(stream);
    let host_us = d.gpu(device).launch.graph_host_us;
    let steps = d.executables.get(&executable).ok_or(Cu::INVALID_HANDLE)?.clone();
    d.spend_us(host_us);
    for step in steps {
        let step = match step {
            Step::Work(task) => Step::Work(Task { in_graph: true, ..task }),
            other => other,
        };
        d.enqueue(stream, step)?;
    }
    Ok(())
});

cuda!(cuGraphExecDestroy |d| (executable: u64) {
    d.executables.remove(&executable).map(drop).ok_or(Cu::INVALID_HANDLE)
});

cuda!(cuGraphDestroy |d| (graph: u64) {
    d.graphs.remove(&graph).map(drop).ok_or(Cu::INVALID_HANDLE)
});

impl Driver {
    fn instantiate(&mut self, executable: *mut u64, graph: u64) -> Result<(), Cu> {
        let steps = self.graphs.get(&graph).ok_or(Cu::INVALID_HANDLE)?.clone();
        let handle = self.fresh();
        put(executable, handle)?;
        self.executables.insert(handle, steps);
        Ok(())
    }
}
