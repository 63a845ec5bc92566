//! B.5.1: what clouds ask for GPUs by the hour, and what an hour is worth.
//!
//! The guide's prices are of 2024 and 2025; each stands beside today's price of the same machine, or of the one that is like it. By GPU, what is
//! asked today is compared over all providers. A GPU hour is worth what the GPU computes in it: a **PFLOP·h** is 10¹⁵ operations per second for
//! an hour, at the rate of one large BF16 product (8,192 rows, columns and deep; FP16 before Ampere), which is more than any training reaches.
//!
//! Prices move. Every one has a date, and this list is no offer.

use super::errata::Erratum;
use super::jobs::Board;
use super::{Input, Section};
use crate::catalog::{Instance, Pricing};
use crate::estimate::time::{Launching, Speeds};
use crate::figure::Figure;
use crate::lang::Text;
use crate::table::{Cell, Column, Table};
use crate::units::{FlopsPerSecond, Seconds, Usd};
use crate::workload::Role;
use crate::workload::operations::Product;

pub(super) const SECTION: Section = Section { id: "B.5.1", title: Text::new("Clouds", "클라우드 GPU 가격"), tables };

/// A price of the guide's: who sells what, and the entry of today that is like it, with what the guide's number is where it is not today's.
struct Price {
    provider: &'static str,
    name: &'static str,
    today: Option<&'static str>,
    why: Option<Text>,
}

const fn price(provider: &'static str, name: &'static str, today: &'static str, why: Option<Text>) -> Price {
    Price { provider, name, today: Some(today), why }
}

const CUT: Text = Text::new("the list price until June 2025, cut since", "2025년 6월까지의 정가이며 그 뒤 인하되었다");

/// The guide's list, in its order.
const PRICES: [Price; 14] = [
    price("AWS", "p4d.24xlarge", "p4d.24xlarge", Some(CUT)),
    price("AWS", "p5.48xlarge", "p5.48xlarge", Some(CUT)),
    price("AWS", "g5.xlarge", "g5.xlarge", None),
    price("AWS", "g6.xlarge", "g6.xlarge", None),
    price("GCP", "a2-highgpu-1g", "a2-highgpu-1g", None),
    price(
        "GCP",
        "a2-ultragpu-8g",
        "a2-ultragpu-8g",
        Some(Text::new(
            "the guide's is the price of AWS p4de.24xlarge, with the same boards",
            "가이드 값은 같은 GPU를 쓰는 AWS p4de.24xlarge의 가격이다",
        )),
    ),
    price(
        "GCP",
        "a3-highgpu-8g",
        "a3-highgpu-8g",
        Some(Text::new(
            "the guide's is the price of AWS p5.48xlarge and Azure ND96isr_H100_v5, with the same boards",
            "가이드 값은 같은 GPU를 쓰는 AWS p5.48xlarge와 Azure ND96isr_H100_v5의 가격이다",
        )),
    ),
    price(
        "RunPod",
        "A100 80GB",
        "A100 80GB PCIe (secure)",
        Some(Text::new(
            "the guide's was the secure lane's price for the PCIe board in 2024-25, not the community's",
            "가이드 값은 2024~25년 PCIe 제품의 Secure 가격이며 Community 가격이 아니다",
        )),
    ),
    price(
        "RunPod",
        "H100 SXM",
        "H100 80GB HBM3 (community)",
        Some(Text::new("the guide's is the secure lane's price, not the community's", "가이드 값은 Community가 아니라 Secure 가격이다")),
    ),
    price(
        "RunPod",
        "RTX 4090",
        "RTX 4090 (community)",
        Some(Text::new("neither lane asks the guide's price any more", "지금은 Secure와 Community 어느 쪽도 가이드 값이 아니다")),
    ),
    price(
        "Lambda",
        "gpu_1x_a100_sxm4",
        "A100 SXM 40GB (per GPU)",
        Some(Text::new(
            "the price of 2024-25; the type has the 40 GB board, not the 80 GB one",
            "2024~25년의 가격이다. 이 타입의 GPU는 80 GB가 아니라 40 GB 제품이다",
        )),
    ),
    price(
        "Lambda",
        "gpu_1x_h100_sxm5",
        "gpu_1x_h100_sxm5",
        Some(Text::new("the guide's was the price of gpu_1x_h100_pcie", "가이드 값은 gpu_1x_h100_pcie의 가격이었다")),
    ),
    price("Vast.ai", "RTX 4090", "RTX 4090", None),
    Price { provider: "Vast.ai", name: "A100 80GB", today: None, why: None },
];

/// The guide's entry of that name, or today's.
pub(super) fn entry<'a>(input: &Input<'a>, provider: &str, name: &str, of_guide: bool) -> Option<&'a Instance> {
    let catalog = input.catalog;
    catalog.instances.iter().find(|entry| entry.provider == provider && entry.name == name && entry.is_guide() == of_guide)
}

impl Price {
    fn guide<'a>(&self, input: &Input<'a>) -> Option<&'a Instance> {
        entry(input, self.provider, self.name, true)
    }

    fn today<'a>(&self, input: &Input<'a>) -> Option<&'a Instance> {
        entry(input, self.provider, self.today?, false)
    }
}

/// What one GPU of an instance costs an hour.
pub(super) fn per_gpu(instance: &Instance) -> Figure<Usd> {
    let gpus = f64::from(instance.gpus);
    instance.price_per_hour().map(|usd| Usd(usd.0 / gpus))
}

/// Whether an entry is today's, can be had whenever it is wanted, and is a whole machine.
fn is_offer(instance: &Instance) -> bool {
    let reserved = matches!(instance.pricing, Pricing::CapacityBlock | Pricing::Calendar | Pricing::Spot);
    // GCP's N1 machines have GPUs added to them, which this price is for alone.
    !instance.is_guide() && !reserved && !instance.name.starts_with("n1+")
}

/// Today's offers of a GPU, the cheapest first.
fn offers<'a>(input: &Input<'a>, gpu: &str) -> Vec<&'a Instance> {
    let mut offers: Vec<&Instance> = input.catalog.instances.iter().filter(|entry| entry.gpu == gpu && is_offer(entry)).collect();
    offers.sort_by(|a, b| a.usd_per_gpu_hour().total_cmp(&b.usd_per_gpu_hour()));
    offers
}

/// Whether GPUs are sold one by one, several to a machine where that is wanted; others sell machines as they are.
fn by_one(instance: &Instance) -> bool {
    instance.gpus == 1
        && (matches!(instance.provider.as_str(), "RunPod" | "Vast.ai" | "Crusoe" | "Modal") || instance.name.contains("per GPU"))
}

/// The least that one machine with `count` of a GPU is to be had for today, an hour. A machine with more is paid for whole.
pub(super) fn rent<'a>(input: &Input<'a>, gpu: &str, count: u64) -> Option<(Figure<Usd>, &'a Instance)> {
    let paid = |instance: &Instance| if by_one(instance) { count } else { u64::from(instance.gpus) };
    let usd = |instance: &Instance| instance.usd_per_gpu_hour() * paid(instance) as f64;
    let offers = input.catalog.instances.iter().filter(|entry| entry.gpu == gpu && is_offer(entry) && paid(entry) >= count);
    let least = offers.min_by(|a, b| usd(a).total_cmp(&usd(b)))?;
    let gpus = paid(least) as f64;
    Some((per_gpu(least).map(|usd| Usd(usd.0 * gpus)), least))
}

/// Prices that were another machine's, or another year's.
pub(super) fn errata(input: &Input<'_>) -> Vec<Erratum> {
    const ROUNDING: f64 = 0.01;
    let both = PRICES.iter().filter_map(|price| Some((price.why?, price.guide(input)?, price.today(input)?)));
    let differs = |guide: &Instance, today: &Instance| (ratio(guide, today).value - 1.0).abs() > ROUNDING;
    both.filter(|(_, guide, today)| differs(guide, today))
        .map(|(why, guide, today)| Erratum {
            section: "B.5.1",
            item: Text::new("{} {}, an hour", "{} {}, 시간당").fill(input.lang, &[&guide.provider, &guide.name]),
            guide: Cell::figure(&guide.price_per_hour()),
            right: Cell::figure(&today.price_per_hour()),
            why: Text::new("{} ({}: as of {})", "{}({}: {} 기준)").fill(input.lang, &[&input.say(why), &today.name, &today.as_of]),
        })
        .collect()
}

/// Today's price over the guide's.
fn ratio(guide: &Instance, today: &Instance) -> Figure<f64> {
    today.price_per_hour().with(&guide.price_per_hour(), |today, guide| today.0 / guide.0)
}

fn tables(input: &Input<'_>) -> Vec<Table> {
    vec![guides(input), by_gpu(input)]
}

fn guides(input: &Input<'_>) -> Table {
    let mut table = input.table(
        "B.5.1",
        Text::new("The guide's prices beside today's", "가이드의 가격과 현재 가격"),
        [
            Column::text("provider", input.say(Text::new("cloud", "클라우드"))),
            Column::text("instance", input.say(Text::new("instance", "인스턴스"))),
            Column::text("gpu", "GPU"),
            Column::number("count", input.say(Text::new("GPUs", "GPU 수"))),
            Column::number("guide", input.say(Text::new("guide", "가이드"))).unit("USD/h"),
            Column::number("today", input.say(Text::new("today", "현재"))).unit("USD/h"),
            Column::text("as_of", input.say(Text::new("as of", "기준일"))),
            Column::number("ratio", input.say(Text::new("today / guide", "현재 / 가이드"))),
            Column::number("per_gpu", input.say(Text::new("each GPU", "GPU당"))).unit("USD/h"),
        ],
    );
    for price in &PRICES {
        let Some(guide) = price.guide(input) else { continue };
        let today = price.today(input);
        let ratio = today.map(|today| ratio(guide, today));
        table.row([
            Cell::text(&guide.provider),
            Cell::text(match today {
                Some(today) if today.name != guide.name => format!("{} → {}", guide.name, today.name),
                _ => guide.name.clone(),
            }),
            Cell::text(&guide.gpu),
            Cell::count(guide.gpus.into()),
            usd(&guide.price_per_hour()),
            today.map_or(Cell::Empty, |today| usd(&today.price_per_hour())),
            today.map_or(Cell::Empty, |today| Cell::text(&today.as_of)),
            ratio.map_or(Cell::Empty, |ratio| Cell::figure_as(&ratio, format!("{:.2}", ratio.value))),
            today.map_or(Cell::Empty, |today| usd(&per_gpu(today))),
        ]);
    }
    table.note(input.say(Text::new(
        "The guide's prices are of 2024-25; an arrow leads to today's entry where it is called otherwise. Where a price is missing nobody asks one in the catalog. Spot machines are not in it.",
        "가이드 가격은 2024~25년 기준이다. 이름이 다른 현재 항목은 화살표 뒤에 적었다. 카탈로그에 현재 가격이 없으면 비워 두었고, Spot 가격은 카탈로그에 없다.",
    )));
    table
}

/// What a GPU does with one large product; `None` where its format is unknown.
fn product_rate(speeds: &Speeds) -> Option<Figure<FlopsPerSecond>> {
    const SIZE: u64 = 8192;
    let dtype = speeds.dtype(2);
    speeds.peak(dtype)?;
    let product = Product { role: Role::Up, m: SIZE, n: SIZE, k: SIZE, groups: 1, bias: false };
    let (time, _) = speeds.product(dtype, &product);
    let basis = speeds.basis(dtype, Launching::Graph, false, false);
    let (_, basis, from) = basis.into_iter().next()?;
    let rate = |time: Seconds| product.flops() / time;
    Some(Figure { value: rate(time.time), low: rate(time.high), high: rate(time.low), basis, from: vec![from] })
}

fn by_gpu(input: &Input<'_>) -> Table {
    let mut table = input.table(
        "B.5.1",
        Text::new("What a GPU hour costs today, and is worth", "현재 GPU 시간당 가격과 연산 단가"),
        [
            Column::text("gpu", "GPU"),
            Column::number("count", input.say(Text::new("offers", "상품"))),
            Column::number("least", input.say(Text::new("least", "최저"))).unit("USD/h"),
            Column::number("median", input.say(Text::new("median", "중앙"))).unit("USD/h"),
            Column::number("rate", input.say(Text::new("computes", "연산"))).unit("TFLOP/s"),
            Column::number("per_pflop_hour", "USD/PFLOP·h"),
            Column::text("cheapest", input.say(Text::new("cheapest", "최저가"))),
            Column::text("as_of", input.say(Text::new("as of", "기준일"))),
        ],
    );
    struct Row {
        cells: Vec<Cell>,
        worth: f64,
    }
    let mut rows = Vec::new();
    for model in &input.catalog.gpus {
        let offers = offers(input, &model.short_name);
        let Some(first) = offers.first() else { continue };
        let rate = input.speeds(&Board::of(model)).and_then(|speeds| product_rate(&speeds));
        let least = per_gpu(first);
        let worth = rate.as_ref().map(|rate| least.with(rate, |usd, rate| Usd(usd.0 / (rate.0 / 1e15))));
        let cells = vec![
            Cell::text(&model.short_name),
            Cell::count(offers.len() as u64),
            usd(&least),
            usd(&per_gpu(offers[offers.len() / 2])),
            rate.as_ref().map_or(Cell::Empty, |rate| Cell::figure_in(rate, 1e12, 0)),
            worth.as_ref().map_or(Cell::Empty, usd),
            Cell::text(format!("{} {}", first.provider, first.name)),
            Cell::text(&first.as_of),
        ];
        rows.push(Row { cells, worth: worth.map_or(f64::INFINITY, |worth| worth.value.0) });
    }
    rows.sort_by(|a, b| a.worth.total_cmp(&b.worth));
    for row in rows {
        table.row(row.cells);
    }
    table.note(input.say(Text::new(
        "Each price is of one GPU, its share of the machine; machines that have to be reserved are left out. The price of a PFLOP·h, 10¹⁵ operations per second for an hour, is the least price at the rate of one large BF16 product (FP16 before Ampere). Cheap hours are often somebody's spare machine: links, disks and reliability differ.",
        "가격은 GPU 하나의 몫이며 예약해야 하는 상품은 뺐다. PFLOP·h(초당 10¹⁵ 연산으로 1시간)의 가격은 큰 BF16 행렬곱(Ampere 이전은 FP16)의 속도로 계산했다. 값싼 상품은 개인의 남는 장비인 경우가 많아 연결, 디스크, 안정성이 다르다.",
    )));
    table
}

/// Dollars and cents; whole dollars from a hundred on.
pub(super) fn usd(price: &Figure<Usd>) -> Cell {
    let amount = price.value.0;
    let shown = if amount >= 100.0 { format!("{amount:.0}") } else { format!("{amount:.2}") };
    Cell::figure_as(price, shown)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::Catalog;
    use crate::lang::Lang;

    fn with<R>(test: impl FnOnce(&Input<'_>) -> R) -> R {
        let catalog = Catalog::embedded().unwrap();
        test(&Input::new(&catalog, None, &[], Lang::En))
    }

    #[test]
    fn every_price_of_the_guide_is_in_the_table_and_no_other() {
        with(|input| {
            let listed: Vec<&Instance> = PRICES.iter().map(|price| price.guide(input).unwrap()).collect();
            let all: Vec<&Instance> = input.catalog.instances.iter().filter(|entry| entry.is_guide()).collect();
            assert_eq!(listed, all);
            for price in &PRICES {
                assert_eq!(price.today.is_some(), price.today(input).is_some(), "{} {}", price.provider, price.name);
            }
        });
    }

    #[test]
    fn renting_more_never_costs_less_and_never_less_than_the_cheapest_share() {
        with(|input| {
            for model in &input.catalog.gpus {
                let Some(least) = offers(input, &model.short_name).first().map(|offer| per_gpu(offer).value.0) else { continue };
                let rents: Vec<Option<f64>> = (1..=8).map(|count| Some(rent(input, &model.short_name, count)?.0.value.0)).collect();
                for (count, pair) in (1..).zip(rents.windows(2)) {
                    if let [Some(fewer), Some(more)] = pair {
                        assert!(fewer <= more, "{count} {}", model.short_name);
                    }
                    assert!(pair[1].is_none() || pair[0].is_some(), "{}", model.short_name);
                }
                for (count, rent) in (1..).zip(&rents) {
                    assert!(rent.is_none_or(|rent| rent >= least * f64::from(count) * (1.0 - 1e-12)), "{count} {}", model.short_name);
                }
            }
        });
    }

    #[test]
    fn a_machine_of_one_is_not_rented_for_several() {
        with(|input| {
            let rented = |count| rent(input, "GH200 96GB", count).map(|(_, instance)| instance.name.as_str());
            assert_eq!((rented(1), rented(2)), (Some("gpu_1x_gh200"), None));
        });
    }

    #[test]
    fn a_pflop_hour_is_dearer_where_the_gpu_computes_less() {
        with(|input| {
            let rate = |name: &str| {
                let board = super::super::jobs::board(input, name).unwrap();
                product_rate(&input.speeds(&board).unwrap()).unwrap().value.0
            };
            assert!(rate("H100 SXM") > rate("A100 SXM 80GB") && rate("A100 SXM 80GB") > rate("T4"));
            let table = by_gpu(input);
            let prices: Vec<f64> = table
                .rows()
                .iter()
                .map(|row| match (&row[2], &row[4], &row[5]) {
                    (Cell::Number(usd), Cell::Number(rate), Cell::Number(price)) => {
                        assert!((price.value * rate.value / 1e15 / usd.value - 1.0).abs() < 1e-9);
                        price.value
                    }
                    other => panic!("{other:?}"),
                })
                .collect();
            assert!(prices.len() > 20 && prices.is_sorted());
        });
    }
}
