//! A verdict in HTML: the answer in a word and a sign, then what is wrong and what to do.

use crate::lang::{Lang, Text};
use crate::report::markup::Markup;
use crate::report::verdict::{Alike, LIKEWISE, alike, limit, sign as mark};
use crate::verdict::{Assessment, Verdict};

/// Findings shown; the table of all checks has the rest.
const MOST_FINDINGS: usize = 100;

/// The answer and its findings.
pub(super) fn verdict(out: &mut Markup, assessment: &Assessment, lang: Lang) {
    let class = format!("verdict {}", assessment.verdict.word());
    out.block("div", &[("class", &class)], |out| {
        out.element("p", &[("class", "answer")], |out| {
            out.leaf("span", &[("class", "sign"), ("aria-hidden", "true")], sign(assessment.verdict));
            out.leaf("strong", &[], assessment.verdict.text().get(lang));
        });
        let asked = Text::new("Asked for: {}. Measured: {}.", "요구: {}. 측정: {}.");
        out.leaf("p", &[], &asked.fill(lang, &[&assessment.expected, &assessment.measured]));
        if assessment.simulated {
            const MARK: Text = Text::new("SIMULATED: no hardware was judged.", "SIMULATED: 실제 하드웨어를 판정한 것이 아니다.");
            out.leaf("p", &[], MARK.get(lang));
        }
    });
    if assessment.findings.is_empty() {
        return;
    }
    out.block("ul", &[("class", "findings")], |out| {
        alike(&assessment.findings).iter().take(MOST_FINDINGS).for_each(|group| finding(out, group, lang));
    });
}

const fn sign(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Pass => "✓",
        Verdict::Unknown => "?",
        Verdict::Fail => "✗",
    }
}

fn finding(out: &mut Markup, alike: &Alike<'_>, lang: Lang) {
    let finding = alike.worst;
    let check = &finding.check;
    let class = format!("finding {}", check.status.word());
    out.block("li", &[("class", &class)], |out| {
        out.element("p", &[("class", "title")], |out| {
            out.leaf("span", &[("class", "sign"), ("aria-hidden", "true")], mark(check.status));
            out.leaf("strong", &[], &format!("{}: {}", check.status.text().get(lang), finding.title));
        });
        out.block("dl", &[], |out| {
            let mut row = |name: Text, text: &str| {
                if !text.is_empty() {
                    out.leaf("dt", &[], name.get(lang));
                    out.leaf("dd", &[], text);
                }
            };
            row(Text::new("seen", "확인값"), &check.seen);
            row(Text::new("expected", "기대값"), &check.expected);
            row(Text::new("the limit", "한계"), &limit(check, lang));
            row(LIKEWISE, &alike.likewise());
            row(Text::new("what it costs", "손해"), finding.cost.as_deref().unwrap_or_default());
            row(Text::new("what to do", "할 일"), &finding.remedy);
            row(Text::new("for the provider", "제공자에게"), &finding.sentence);
            row(Text::new("accepted", "허용"), finding.accepted.as_deref().unwrap_or_default());
            row(Text::new("DCGM's name", "DCGM 이름"), finding.dcgm.unwrap_or_default());
        });
    });
}
