//! B.8, host memory for offloading: what moves to the host when optimizer states leave the GPU, and what that leaves there.
//!
//! The guide says that host memory decides whether states can be offloaded. This table says how much: master weights, both moments and a pinned
//! copy of the gradients for every parameter, less what other nodes hold.

use super::Input;
use super::jobs::{self, Job, MIXED, SIZES};
use crate::figure::{Basis, Figure};
use crate::lang::Text;
use crate::table::{Cell, Column, Table};
use crate::units::Bytes;
use crate::workload::{Checkpointing, Data, Offload, Parallel, Training};

/// One GPU, and one node of eight.
const GPUS: [u64; 2] = [1, 8];

/// Full fine-tuning with and without offloaded states; `usable` is the memory this process may use.
pub(super) fn table(input: &Input<'_>, usable: Option<&Figure<Bytes>>) -> Table {
    let mut table = input.table(
        "B.8",
        Text::new("Host memory for offloaded optimizer states", "옵티마이저 오프로드에 필요한 호스트 메모리"),
        [
            Column::text("model", input.say(Text::new("full fine-tuning of", "전체 미세조정 모델"))),
            Column::number("gpu_count", "GPU"),
            Column::number("without", input.say(Text::new("each GPU without", "오프로드 없이 GPU당"))).unit("GiB"),
            Column::number("with", input.say(Text::new("each GPU with", "오프로드하면 GPU당"))).unit("GiB"),
            Column::number("host", input.say(Text::new("host memory", "호스트 메모리"))).unit("GiB"),
            Column::text("finding", input.say(Text::new("this machine", "이 장비"))),
        ],
    );
    for (_, name) in SIZES {
        let Some(model) = jobs::model(input, name) else { continue };
        for gpus in GPUS {
            let data = if gpus == 1 { Data::Ddp } else { Data::Zero2 };
            let job = |offload| {
                let parallel = Parallel { gpus, data, ..Parallel::ONE };
                let training = Training { parallel, offload, checkpointing: Checkpointing::Full, ..Training::new(MIXED, 1, 2048) };
                Job::Train(training).memory(&model, &jobs::unnamed())
            };
            let (Some(without), Some(with)) = (job(Offload::None), job(Offload::Optimizer)) else { continue };
            let host = Figure::new(with.host, Basis::Datasheet, format!("shape of {}", model.name));
            table.row([
                Cell::text(&model.name),
                Cell::count(gpus),
                gib(&without.device),
                gib(&with.device),
                gib(&host),
                usable.map_or(Cell::Empty, |usable| Cell::text(input.say(finding(&host, usable)))),
            ]);
        }
    }
    table.note(input.say(Text::new(
        "One sequence of 2,048 tokens per GPU, BF16 with FP32 master weights and AdamW, every layer recomputed; gradients and states shared by the eight (ZeRO-2).",
        "GPU당 2,048토큰 한 시퀀스, BF16과 FP32 마스터 가중치, AdamW, 모든 층 재계산. GPU 8개에서는 그래디언트와 상태를 나눈다(ZeRO-2).",
    )));
    table
}

fn finding(host: &Figure<Bytes>, usable: &Figure<Bytes>) -> Text {
    if host.value <= usable.value { Text::new("enough", "충분") } else { Text::new("too little", "부족") }
}

fn gib(bytes: &Figure<Bytes>) -> Cell {
    Cell::figure_as(bytes, format!("{:.1}", bytes.value.as_gib()))
}
