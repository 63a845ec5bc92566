//! Every kind of check, in the order in which they are shown: what it asks, what is wrong where it fails, what to do, what to tell the provider.
//!
//! Names of DCGM's errors are those of its `dcgm_errors.h` (NVIDIA/DCGM, version 3 and later).

use super::About;
use crate::lang::{Lang, Text};

/// Whether the verdict is unknown where a check has no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Matters {
    /// Without it nobody can say that this is the machine that was paid for.
    Yes,
    /// Good to know.
    No,
}

/// A kind of check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kind {
    /// What scripts and policies call it.
    pub id: &'static str,
    /// DCGM's error for the same fault.
    pub dcgm: Option<&'static str>,
    /// Whether the verdict is unknown without an answer.
    pub matters: Matters,
    /// What is asked.
    pub asks: Text,
    /// What is wrong where it fails.
    pub wrong: Text,
    /// What to do then.
    pub remedy: Text,
    /// A sentence for the provider; `{about}`, `{seen}` and `{expected}` are filled in.
    sentence: &'static str,
}

impl Kind {
    /// The sentence for the provider, in English, which support desks read everywhere.
    pub fn sentence(&self, about: About, seen: &str, expected: &str) -> String {
        let about = match about {
            About::Machine => "The machine".to_owned(),
            About::Gpu(index) => format!("GPU {index}"),
            About::Pair(from, to) => format!("The path from GPU {from} to GPU {to}"),
        };
        self.sentence.replace("{about}", &about).replace("{seen}", seen).replace("{expected}", expected)
    }

    /// What is wrong, in `lang`, with what it is about.
    pub fn title(&self, about: About, lang: Lang) -> String {
        match about {
            About::Machine => self.wrong.get(lang).to_owned(),
            _ => format!("{about}: {}", self.wrong.get(lang)),
        }
    }
}

/// The kind of this id.
pub fn kind(id: &str) -> Option<&'static Kind> {
    KINDS.iter().find(|kind| kind.id == id)
}

/// `Kind` in one line per field group.
macro_rules! kinds {
    ($($id:literal, $dcgm:expr, $matters:ident,
        asks $asks_en:literal $asks_ko:literal,
        wrong $wrong_en:literal $wrong_ko:literal,
        remedy $remedy_en:literal $remedy_ko:literal,
        say $sentence:literal;)+) => {
        &[$(Kind {
            id: $id,
            dcgm: $dcgm,
            matters: Matters::$matters,
            asks: Text::new($asks_en, $asks_ko),
            wrong: Text::new($wrong_en, $wrong_ko),
            remedy: Text::new($remedy_en, $remedy_ko),
            sentence: $sentence,
        }),+]
    };
}

/// All of them.
pub const KINDS: &[Kind] = kinds! {
    "gpu.count", Some("DCGM_FR_DEVICE_COUNT_MISMATCH"), Yes,
        asks "as many GPUs as paid for" "GPU 개수",
        wrong "GPUs are missing" "GPU가 모자랍니다",
        remedy "ask for the missing GPUs, or for a machine that has them" "빠진 GPU를 요구하거나 다른 장비를 요구하세요",
        say "{about} shows {seen}; {expected} were ordered.";
    "gpu.name", None, Yes,
        asks "the model that was paid for, by its name" "모델 이름",
        wrong "another GPU model" "다른 GPU 모델입니다",
        remedy "ask for the model that was ordered" "주문한 모델을 요구하세요",
        say "{about} is {seen}; {expected} was ordered.";
    "gpu.pci-id", None, No,
        asks "the PCI device that belongs to the name" "이름과 PCI ID의 일치",
        wrong "its PCI id is another model's: relabelled" "PCI ID가 다른 모델의 것입니다(이름 위조)",
        remedy "do not pay: the board reports a name that is not its own" "결제하지 마세요: 보드가 자신의 것이 아닌 이름을 댑니다",
        say "{about} reports a name that does not belong to its PCI device: {seen}, where {expected} belongs to the name.";
    "gpu.compute-capability", None, Yes,
        asks "the chip's compute capability" "연산 능력 버전",
        wrong "another chip generation" "칩 세대가 다릅니다",
        remedy "do not pay: the chip is not the model's" "결제하지 마세요: 칩이 그 모델의 것이 아닙니다",
        say "{about} has compute capability {seen}; the model ordered has {expected}.";
    "gpu.sms", None, Yes,
        asks "all its multiprocessors" "SM 개수",
        wrong "fewer multiprocessors than the model has" "모델보다 SM이 적습니다",
        remedy "ask for a whole GPU: this is a slice, or another model" "온전한 GPU를 요구하세요: 나뉜 조각이거나 다른 모델입니다",
        say "{about} has {seen} multiprocessors; the model ordered has {expected}.";
    "gpu.memory", Some("DCGM_FR_MEMORY_MISMATCH"), Yes,
        asks "all its memory" "메모리 크기",
        wrong "not the model's memory" "메모리 크기가 모델과 다릅니다",
        remedy "ask for a GPU with the memory that was ordered" "주문한 메모리를 가진 GPU를 요구하세요",
        say "{about} has {seen} of memory; the model ordered has {expected}.";
    "gpu.memory-bus", None, No,
        asks "bus width times memory clock give the datasheet's bandwidth" "버스 폭 × 메모리 클럭",
        wrong "narrower or slower memory than the model's" "모델보다 좁거나 느린 메모리입니다",
        remedy "ask whether the board was modified" "개조된 보드인지 물으세요",
        say "{about} has memory of {seen} by bus width and clock; the model ordered has {expected}.";
    "gpu.l2", None, No,
        asks "all its second-level cache" "L2 캐시 크기",
        wrong "less second-level cache than the model has" "L2 캐시가 모델보다 작습니다",
        remedy "ask whether this is a slice or a cut-down board" "나뉜 조각이나 축소된 보드인지 물으세요",
        say "{about} has {seen} of L2 cache; the model ordered has {expected}.";
    "gpu.partition", None, Yes,
        asks "a whole GPU, not a slice" "분할되지 않은 GPU",
        wrong "a slice of a GPU" "GPU의 일부만 받았습니다",
        remedy "ask for the whole GPU, or for the price of a slice" "온전한 GPU나 조각의 값을 요구하세요",
        say "{about} is {seen}; a whole GPU was ordered.";
    "gpu.alike", None, No,
        asks "all GPUs of one kind" "GPU끼리의 일치",
        wrong "differs from the other GPUs" "다른 GPU들과 다릅니다",
        remedy "ask for equal GPUs: jobs on several run at the pace of the slowest" "같은 GPU들을 요구하세요: 여러 GPU 작업은 가장 느린 것에 맞춰집니다",
        say "{about} differs from the others: {seen}, where the others have {expected}.";
    "gpu.idle", None, No,
        asks "nobody else on it" "다른 사용자 없음",
        wrong "somebody else uses it" "다른 프로세스가 쓰고 있습니다",
        remedy "stop those processes if they are yours; else ask for a GPU of your own" "본인의 것이면 끝내고, 아니면 전용 GPU를 요구하세요",
        say "{about} is used by others before the job starts: {seen}.";
    "clock.application", None, No,
        asks "application clocks not set low" "응용 클럭 설정",
        wrong "its application clock is set low" "응용 클럭이 낮게 잡혀 있습니다",
        remedy "ask the provider to reset it (`nvidia-smi -rac`)" "제공자에게 초기화(`nvidia-smi -rac`)를 요청하세요",
        say "{about} has its application clock set to {seen}; the board does {expected}.";
    "clock.load", Some("DCGM_FR_THROTTLING_VIOLATION"), No,
        asks "its clock under load" "부하 때 클럭",
        wrong "its clock is held down under load" "부하 때 클럭이 눌려 있습니다",
        remedy "ask the provider to look for locked clocks, power or heat" "클럭 고정·전력·발열을 확인해 달라고 하세요",
        say "{about} runs at {seen} under load; {expected} is usual.";
    "power.limit", Some("DCGM_FR_ENFORCED_POWER_LIMIT"), No,
        asks "its whole power" "전력 제한",
        wrong "its power limit is below the board's default" "전력 제한이 기본값보다 낮습니다",
        remedy "ask the provider to restore the default (`nvidia-smi -pl`)" "기본값 복구(`nvidia-smi -pl`)를 요청하세요",
        say "{about} is limited to {seen}; the board's default is {expected}.";
    "throttle.thermal", Some("DCGM_FR_CLOCK_THROTTLE_THERMAL"), No,
        asks "no throttling by heat" "열 제한 없음",
        wrong "it is throttled by heat" "열 때문에 느려집니다",
        remedy "ask for another machine: its cooling does not suffice" "다른 장비를 요구하세요: 냉각이 모자랍니다",
        say "{about} throttles because of heat under load ({seen}).";
    "throttle.hardware", Some("DCGM_FR_CLOCK_THROTTLE_POWER"), No,
        asks "no brake by the power supply" "전원 제동 없음",
        wrong "its power supply brakes it" "전원 장치가 제동을 겁니다",
        remedy "ask for another machine: its power supply does not suffice" "다른 장비를 요구하세요: 전원이 모자랍니다",
        say "{about} is slowed down by its power supply under load ({seen}).";
    "ecc.enabled", Some("DCGM_FR_ECC_DISABLED"), No,
        asks "error correction is on" "ECC 켜짐",
        wrong "error correction is off" "ECC가 꺼져 있습니다",
        remedy "ask the provider to turn it on (`nvidia-smi -e 1` and a reboot)" "제공자에게 켜 달라고 하세요(`nvidia-smi -e 1`과 재부팅)",
        say "{about} has ECC turned off; it is on by default for this model.";
    "ecc.uncorrected", Some("DCGM_FR_VOLATILE_DBE_DETECTED"), No,
        asks "no uncorrected memory errors" "정정 불가 오류 없음",
        wrong "uncorrected memory errors" "정정 불가능한 메모리 오류가 있습니다",
        remedy "ask for another GPU" "다른 GPU를 요구하세요",
        say "{about} counts {seen} uncorrected ECC errors.";
    "ecc.run", Some("DCGM_FR_VOLATILE_SBE_DETECTED"), No,
        asks "no memory errors while measuring" "측정 중 메모리 오류 없음",
        wrong "memory errors while it was measured" "측정하는 동안 메모리 오류가 났습니다",
        remedy "ask for another GPU: its memory is failing" "다른 GPU를 요구하세요: 메모리가 망가지고 있습니다",
        say "{about} had new ECC errors within a minute of load: {seen}.";
    "rows.pending", Some("DCGM_FR_PENDING_ROW_REMAP"), No,
        asks "no memory row waits to be remapped" "행 교체 대기 없음",
        wrong "memory rows wait to be remapped" "메모리 행 교체가 대기 중입니다",
        remedy "ask the provider to reset the GPU, then validate again" "GPU 재설정을 요청한 뒤 다시 검증하세요",
        say "{about} has a row remapping pending; it needs a reset.";
    "rows.failed", Some("DCGM_FR_ROW_REMAP_FAILURE"), No,
        asks "no remapping of memory rows has failed" "행 교체 실패 없음",
        wrong "remapping of memory rows has failed" "메모리 행 교체가 실패했습니다",
        remedy "ask for another GPU: this one is due for return (RMA)" "다른 GPU를 요구하세요: 반품(RMA) 대상입니다",
        say "{about} reports a failed row remapping, which NVIDIA lists as a reason for RMA.";
    "rows.uncorrected", Some("DCGM_FR_UNCORRECTABLE_ROW_REMAP"), No,
        asks "no memory row was remapped because of uncorrected errors" "정정 불가 오류로 교체된 행 없음",
        wrong "memory rows were remapped because of uncorrected errors" "정정 불가 오류로 교체된 메모리 행이 있습니다",
        remedy "watch it: it has failed before and was mended" "지켜보세요: 전에 고장이 나서 고쳐진 것입니다",
        say "{about} has {seen} rows remapped because of uncorrected errors.";
    "xid", Some("DCGM_FR_XID_ERROR"), No,
        asks "no XID while measuring" "측정 중 XID 없음",
        wrong "the driver reported an XID while it was measured" "측정 중에 드라이버가 XID를 보고했습니다",
        remedy "ask for another GPU; the number says what is broken (NVIDIA's XID catalogue)" "다른 GPU를 요구하세요. 번호가 고장 종류를 말합니다(NVIDIA XID 목록)",
        say "{about} raised an XID under load: {seen}.";
    "answers", Some("DCGM_FR_FAULTY_MEMORY"), Yes,
        asks "right answers" "계산 결과의 정확성",
        wrong "wrong answers" "계산 결과가 틀립니다",
        remedy "stop using it: results on this GPU cannot be trusted" "쓰지 마세요: 이 GPU의 결과는 믿을 수 없습니다",
        say "{about} computes or stores wrong values: {seen}.";
    "memory.pattern", Some("DCGM_FR_FAULTY_MEMORY"), No,
        asks "memory keeps what is written to it" "메모리 내용 유지",
        wrong "memory does not keep what is written to it" "메모리가 쓴 내용을 지키지 못합니다",
        remedy "stop using it: its memory is faulty, or smaller than it says" "쓰지 마세요: 메모리가 불량이거나 실제로는 작습니다",
        say "{about} fails a pattern test of its memory: {seen}.";
    "memory.allocatable", Some("DCGM_FR_MEMORY_ALLOC"), No,
        asks "nearly all of its memory can be allocated" "할당 가능한 메모리",
        wrong "much of its memory cannot be allocated" "메모리 상당량을 할당할 수 없습니다",
        remedy "look for other processes; else ask for another GPU" "다른 프로세스를 찾아보고, 없으면 다른 GPU를 요구하세요",
        say "{about} gives {seen} of memory; {expected} should be free.";
    "pcie.generation", Some("DCGM_FR_PCIE_GENERATION"), No,
        asks "its PCIe generation under load" "부하 때 PCIe 세대",
        wrong "its PCIe link runs at a lower generation" "PCIe 세대가 낮습니다",
        remedy "ask for another slot, riser or machine" "다른 슬롯·라이저·장비를 요구하세요",
        say "{about} runs its PCIe link at {seen} under load; {expected} is possible.";
    "pcie.width", Some("DCGM_FR_PCIE_WIDTH"), No,
        asks "all its PCIe lanes under load" "부하 때 PCIe 폭",
        wrong "its PCIe link has fewer lanes" "PCIe 레인이 모자랍니다",
        remedy "ask for another slot, riser or machine" "다른 슬롯·라이저·장비를 요구하세요",
        say "{about} runs its PCIe link at {seen} under load; {expected} is possible.";
    "pcie.replays", Some("DCGM_FR_PCI_REPLAY_RATE"), No,
        asks "no PCIe replays while measuring" "측정 중 PCIe 재전송 없음",
        wrong "PCIe packets had to be sent again" "PCIe 재전송이 일어납니다",
        remedy "ask the provider to reseat the board or change the riser" "보드 재장착이나 라이저 교체를 요청하세요",
        say "{about} had {seen} PCIe replays within a minute of load.";
    "nvlink.links", Some("DCGM_FR_NVLINK_DOWN"), No,
        asks "all its NVLinks are up" "NVLink 연결 수",
        wrong "NVLinks are down or missing" "NVLink가 꺼졌거나 없습니다",
        remedy "ask for another machine: several GPUs will train slowly on this one" "다른 장비를 요구하세요: 이 장비에서는 다중 GPU 학습이 느립니다",
        say "{about} has {seen} NVLinks up; the model has {expected}.";
    "peer.access", None, No,
        asks "GPUs reach each other directly" "GPU 사이 직접 접근",
        wrong "GPUs cannot reach each other directly" "GPU끼리 직접 접근하지 못합니다",
        remedy "ask the provider to allow peer-to-peer (fabric manager, IOMMU, ACS)" "P2P 허용(Fabric Manager·IOMMU·ACS)을 요청하세요",
        say "{about} has no peer-to-peer access: {seen}.";
    "peer.contents", Some("DCGM_FR_BROKEN_P2P_MEMORY_DEVICE"), No,
        asks "copies between GPUs arrive as they were sent" "GPU 사이 복사 내용",
        wrong "copies between GPUs arrive damaged" "GPU 사이 복사가 손상됩니다",
        remedy "turn peer-to-peer off (NCCL_P2P_DISABLE=1) until it is mended, and ask for another machine" "고칠 때까지 P2P를 끄고(NCCL_P2P_DISABLE=1) 다른 장비를 요구하세요",
        say "{about} damages data in peer-to-peer copies: {seen}.";
    "peer.rate", Some("DCGM_FR_LOW_BANDWIDTH"), No,
        asks "copies between GPUs at their rate" "GPU 사이 복사 속도",
        wrong "copies between GPUs are slow" "GPU 사이 복사가 느립니다",
        remedy "ask for another machine, or use fewer GPUs" "다른 장비를 요구하거나 GPU를 덜 쓰세요",
        say "{about} copies at {seen}; {expected} is usual.";
    "peer.staged", Some("DCGM_FR_LOW_BANDWIDTH"), No,
        asks "direct copies are faster than through the host" "호스트 경유보다 빠른 직접 복사",
        wrong "direct copies are slower than through the host" "직접 복사가 호스트 경유보다 느립니다",
        remedy "ask the provider to turn ACS off or the IOMMU to passthrough; until then NCCL_P2P_DISABLE=1 is faster" "ACS 끄기나 IOMMU 패스스루를 요청하고, 그때까지 NCCL_P2P_DISABLE=1을 쓰세요",
        say "{about} copies directly at {seen}, slower than through the host ({expected}): ACS or the IOMMU redirects peer-to-peer traffic.";
    "peer.together", Some("DCGM_FR_LOW_BANDWIDTH"), No,
        asks "copies between GPUs while all pairs copy" "모든 GPU 쌍이 동시에 복사할 때의 속도",
        wrong "pairs of GPUs share what joins them" "GPU 쌍들이 연결을 나눠 씁니다",
        remedy "expect this when all GPUs exchange data at once, or ask for a machine with links of their own" "모든 GPU가 함께 데이터를 주고받을 때 느려집니다. 링크를 나누지 않는 장비를 요구하세요",
        say "{about} copies {seen} between all pairs of GPUs at once; alone they add up to {expected}.";
    "collective.contents", None, No,
        asks "collectives of all GPUs arrive as they were sent" "집단 통신 내용",
        wrong "collectives of all GPUs arrive damaged" "집단 통신이 손상됩니다",
        remedy "try NCCL_P2P_DISABLE=1 and another version of NCCL; if neither mends it, ask for another machine" "NCCL_P2P_DISABLE=1과 다른 NCCL 버전을 시험하고, 낫지 않으면 다른 장비를 요구하세요",
        say "{about} damages data in NCCL's collectives: {seen}.";
    "collective.rate", Some("DCGM_FR_LOW_BANDWIDTH"), No,
        asks "collectives of all GPUs at the rate of their links" "집단 통신 속도",
        wrong "collectives are far slower than the links" "집단 통신이 링크보다 훨씬 느립니다",
        remedy "run with NCCL_DEBUG=INFO to see which way it takes; give the container its shared memory and the PCI topology" "NCCL_DEBUG=INFO로 경로를 확인하고, 컨테이너에 공유 메모리와 PCI 토폴로지를 주세요",
        say "{about} reaches {seen} of bus bandwidth in all-reduce over all GPUs; {expected} is usual over its links.";
    "dram", Some("DCGM_FR_MEMORY_BANDWIDTH"), Yes,
        asks "its memory bandwidth" "메모리 대역폭",
        wrong "its memory is slow" "메모리가 느립니다",
        remedy "ask for another GPU" "다른 GPU를 요구하세요",
        say "{about} reaches {seen} of memory bandwidth; {expected} is usual for the model.";
    "matmul.bf16", Some("DCGM_FR_STRESS_LEVEL"), Yes,
        asks "its rate of BF16 matrix products" "BF16 행렬곱 속도",
        wrong "its matrix products are slow" "행렬곱이 느립니다",
        remedy "look at clock, power and heat above; else ask for another GPU" "위의 클럭·전력·온도를 보고, 이상이 없으면 다른 GPU를 요구하세요",
        say "{about} reaches {seen} in BF16 matrix products; {expected} is usual for the model.";
    "matmul.fp8", Some("DCGM_FR_STRESS_LEVEL"), No,
        asks "its rate of FP8 matrix products" "FP8 행렬곱 속도",
        wrong "its FP8 matrix products are slow" "FP8 행렬곱이 느립니다",
        remedy "look at clock, power and heat above; else ask for another GPU" "위의 클럭·전력·온도를 보고, 이상이 없으면 다른 GPU를 요구하세요",
        say "{about} reaches {seen} in FP8 matrix products; {expected} is usual for the model.";
    "copy.h2d", Some("DCGM_FR_LOW_BANDWIDTH"), Yes,
        asks "copies from host memory" "호스트에서 GPU로 복사",
        wrong "copies from host memory are slow" "호스트에서 오는 복사가 느립니다",
        remedy "ask for another machine: data and offloading will be slow on this one" "다른 장비를 요구하세요: 데이터와 오프로딩이 느립니다",
        say "{about} receives {seen} from pinned host memory; {expected} is usual for its link.";
    "copy.d2h", Some("DCGM_FR_LOW_BANDWIDTH"), Yes,
        asks "copies to host memory" "GPU에서 호스트로 복사",
        wrong "copies to host memory are slow" "호스트로 가는 복사가 느립니다",
        remedy "ask for another machine: checkpoints and offloading will be slow on this one" "다른 장비를 요구하세요: 체크포인트와 오프로딩이 느립니다",
        say "{about} sends {seen} to pinned host memory; {expected} is usual for its link.";
    "even.dram", Some("DCGM_FR_MEMORY_BANDWIDTH"), No,
        asks "as fast as the other GPUs in memory" "GPU 사이 메모리 속도의 균형",
        wrong "its memory is slower than the other GPUs'" "다른 GPU보다 메모리가 느립니다",
        remedy "ask for equal GPUs: jobs on several run at the pace of the slowest" "같은 GPU들을 요구하세요: 여러 GPU 작업은 가장 느린 것에 맞춰집니다",
        say "{about} reaches {seen} of memory bandwidth; the other GPUs of the machine reach {expected}.";
    "even.matmul", Some("DCGM_FR_STRESS_LEVEL"), No,
        asks "as fast as the other GPUs in matrix products" "GPU 사이 행렬곱 속도의 균형",
        wrong "its matrix products are slower than the other GPUs'" "다른 GPU보다 행렬곱이 느립니다",
        remedy "ask for equal GPUs: jobs on several run at the pace of the slowest" "같은 GPU들을 요구하세요: 여러 GPU 작업은 가장 느린 것에 맞춰집니다",
        say "{about} reaches {seen} in matrix products; the other GPUs of the machine reach {expected}.";
    "even.copy", Some("DCGM_FR_LOW_BANDWIDTH"), No,
        asks "as fast as the other GPUs to the host" "GPU 사이 호스트 복사의 균형",
        wrong "its host link is slower than the other GPUs'" "다른 GPU보다 호스트 링크가 느립니다",
        remedy "ask for another machine, or do not feed data through this GPU" "다른 장비를 요구하거나 이 GPU로 데이터를 넣지 마세요",
        say "{about} copies at {seen}; the other GPUs of the machine copy at {expected}.";
    "even.peer", Some("DCGM_FR_LOW_BANDWIDTH"), No,
        asks "as fast as the other pairs of GPUs" "GPU 쌍 사이 복사의 균형",
        wrong "slower than the other pairs of GPUs" "다른 GPU 쌍보다 느립니다",
        remedy "ask for another machine: collectives run at the pace of the slowest link" "다른 장비를 요구하세요: 집단 통신은 가장 느린 링크에 맞춰집니다",
        say "{about} copies at {seen}; the other pairs of its kind copy at {expected}.";
    "copy.together", Some("DCGM_FR_LOW_BANDWIDTH"), No,
        asks "copies from host memory while all other GPUs copy too" "모든 GPU가 동시에 복사할 때의 속도",
        wrong "its host link is shared with other GPUs" "호스트 링크를 다른 GPU와 나눠 씁니다",
        remedy "expect this when all GPUs load data at once, or ask for a machine without shared switches" "모든 GPU가 함께 데이터를 읽을 때 느려집니다. 스위치를 나누지 않는 장비를 요구하세요",
        say "{about} receives {seen} from the host while all GPUs copy, and {expected} alone.";
    "sustained.heat", Some("DCGM_FR_CLOCK_THROTTLE_THERMAL"), No,
        asks "no throttling by heat under a load that lasts" "지속 부하에서 열 제한 없음",
        wrong "heat holds it back when a load lasts" "부하가 계속되면 열 때문에 느려집니다",
        remedy "ask for another machine: its cooling does not suffice for hours of training" "다른 장비를 요구하세요: 오래 걸리는 학습에는 냉각이 모자랍니다",
        say "{about} throttles because of heat under sustained load ({seen}).";
    "sustained.loss", Some("DCGM_FR_STRESS_LEVEL"), No,
        asks "keeps its rate under a load that lasts" "지속 부하에서 속도 유지",
        wrong "it does not keep the rate of its first second" "처음 1초의 속도를 유지하지 못합니다",
        remedy "look at heat and power above, and plan with the sustained rate; else ask for another GPU" "위의 열·전력을 보고 지속 속도로 계획하세요. 이상이 없으면 다른 GPU를 요구하세요",
        say "{about} falls to {seen} under sustained load; by its first second and its power limit {expected} were to be expected.";
    "sustained.together", Some("DCGM_FR_STRESS_LEVEL"), No,
        asks "keeps its rate while all other GPUs work too" "모든 GPU가 동시에 일할 때 속도 유지",
        wrong "it slows down when all GPUs work" "모든 GPU가 일하면 느려집니다",
        remedy "ask for another machine: its GPUs share a supply of power or cooling that does not suffice" "다른 장비를 요구하세요: GPU들이 나눠 쓰는 전원이나 냉각이 모자랍니다",
        say "{about} computes at {seen} while all GPUs work, and at {expected} alone.";
    "even.sustained", Some("DCGM_FR_STRESS_LEVEL"), No,
        asks "as fast as the other GPUs while all work" "동시 부하에서 GPU 사이 속도의 균형",
        wrong "slower than the other GPUs while all work" "모두 일할 때 다른 GPU보다 느립니다",
        remedy "ask for another machine: jobs on several GPUs run at the pace of the slowest" "다른 장비를 요구하세요: 여러 GPU 작업은 가장 느린 것에 맞춰집니다",
        say "{about} computes at {seen} while all GPUs work; the others reach {expected}.";
    "driver", Some("DCGM_FR_CUDA_FM_NOT_INITIALIZED"), Yes,
        asks "a driver that works with these GPUs" "동작하는 드라이버",
        wrong "the driver does not serve these GPUs" "드라이버가 이 GPU들을 지원하지 못합니다",
        remedy "ask the provider for a current driver and, with NVSwitch, a fabric manager of the same version" "최신 드라이버와, NVSwitch가 있으면 같은 버전의 Fabric Manager를 요청하세요",
        say "{about} has a driver that does not serve its GPUs: {seen}.";
    "measured", Some("DCGM_FR_CUDA_API"), Yes,
        asks "everything could be measured" "모든 측정의 성공",
        wrong "something could not be measured" "측정하지 못한 것이 있습니다",
        remedy "measure again; if it fails again, the error is the provider's" "다시 측정하고, 또 실패하면 제공자의 문제입니다",
        say "{about} fails in use: {seen}.";
    "host.cpus", None, No,
        asks "processors for its GPUs" "CPU 수",
        wrong "too few processors" "CPU가 모자랍니다",
        remedy "ask for more processors: data loading will hold the GPUs up" "CPU를 더 요구하세요: 데이터 로딩이 GPU를 기다리게 합니다",
        say "{about} grants {seen} processors; {expected} were to be expected.";
    "host.memory", Some("DCGM_FR_MEMORY_ALLOC_HOST"), No,
        asks "memory for its GPUs" "호스트 메모리",
        wrong "too little host memory" "호스트 메모리가 모자랍니다",
        remedy "ask for more memory: checkpoints and offloading will not fit" "메모리를 더 요구하세요: 체크포인트와 오프로딩이 들어가지 않습니다",
        say "{about} grants {seen} of memory; {expected} were to be expected.";
    "host.shm", None, No,
        asks "shared memory for data loading and NCCL" "공유 메모리(/dev/shm)",
        wrong "/dev/shm is small" "/dev/shm이 작습니다",
        remedy "start the container with --shm-size=16g or --ipc=host" "컨테이너를 --shm-size=16g 나 --ipc=host 로 시작하세요",
        say "{about} has {seen} in /dev/shm; {expected} is needed.";
    "host.memlock", None, No,
        asks "memory may be locked" "메모리 고정 허용",
        wrong "little memory may be locked" "고정할 수 있는 메모리가 적습니다",
        remedy "start the container with --ulimit memlock=-1" "컨테이너를 --ulimit memlock=-1 로 시작하세요",
        say "{about} allows {seen} of locked memory.";
    "host.stream", None, No,
        asks "bandwidth of host memory" "호스트 메모리 대역폭",
        wrong "host memory is slow" "호스트 메모리가 느립니다",
        remedy "ask for a machine with all memory channels filled" "메모리 채널이 모두 채워진 장비를 요구하세요",
        say "{about} reaches {seen} of host memory bandwidth; {expected} is needed.";
    "disk.space", None, No,
        asks "room on the disk" "디스크 여유",
        wrong "little room on the disk" "디스크 여유가 적습니다",
        remedy "ask for more disk, or put checkpoints elsewhere" "디스크를 더 요구하거나 체크포인트를 다른 곳에 두세요",
        say "{about} has {seen} free on its disk; {expected} is needed.";
    "disk.read", None, No,
        asks "its disk's rate of reading" "디스크 읽기 속도",
        wrong "its disk is slow" "디스크가 느립니다",
        remedy "ask for a local NVMe disk" "로컬 NVMe 디스크를 요구하세요",
        say "{about} reads its disk at {seen}; {expected} is needed.";
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_id_stands_once_and_is_a_plain_word() {
        for (index, kind) in KINDS.iter().enumerate() {
            assert!(kind.id.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-".contains(&byte)), "{}", kind.id);
            assert!(!KINDS[..index].iter().any(|other| other.id == kind.id), "{}", kind.id);
        }
    }

    #[test]
    fn every_text_is_there_in_both_languages() {
        for kind in KINDS {
            for text in [kind.asks, kind.wrong, kind.remedy] {
                assert!(!text.en.is_empty() && text.ko.chars().any(|c| ('가'..='힣').contains(&c)), "{}", kind.id);
            }
            assert!(kind.dcgm.is_none_or(|name| name.starts_with("DCGM_FR_")));
        }
    }

    #[test]
    fn sentences_are_whole() {
        let kind = kind("pcie.width").unwrap();
        let sentence = kind.sentence(About::Gpu(1), "8 lanes", "16 lanes");
        assert_eq!(sentence, "GPU 1 runs its PCIe link at 8 lanes under load; 16 lanes is possible.");
        for kind in KINDS {
            assert!(!kind.sentence(About::Machine, "x", "y").contains('{'), "{}", kind.id);
        }
    }
}
