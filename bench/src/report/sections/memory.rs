//! What idle sockets take.

use std::fmt::Write as _;

use super::super::chart::Bars;
use super::super::figures::{Results, shown};
use super::{Report, name};

pub fn memory(results: &Results, directory: &str, report: &mut Report) {
    let lines = results.lines("memory");
    if lines.is_empty() {
        return;
    }
    report.text.push_str(
        "## Memory of an idle socket\n\nResident memory with all sockets minus that with the first hundred, divided by the number of sockets in between. What is needed once (code, the pool's connections) is paid with the first hundred.\n\n\
         | | sockets | KiB a socket | MiB at the start | MiB with the first 100 | MiB with all |\n| --- | ---: | ---: | ---: | ---: | ---: |\n",
    );
    let mut groups = Vec::new();
    for (system, variant) in &lines {
        let value = |figure| results.median("memory", system, variant, figure);
        let of = |figure| value(figure).map_or_else(|| "—".to_owned(), shown);
        let _ = writeln!(
            report.text,
            "| {} | {} | {} | {} | {} | {} |",
            name(system),
            of("sockets"),
            of("kib_per_socket"),
            of("resident_alone_mib"),
            of("resident_before_mib"),
            of("resident_after_mib"),
        );
        groups.push((
            format!("{system}, {variant}"),
            vec![value("kib_per_socket")],
        ));
    }
    let svg = Bars {
        title: "Resident memory of an idle socket",
        unit: "KiB",
        series: &["KiB"],
        groups,
    }
    .svg();
    let _ = writeln!(
        report.text,
        "\n![Memory of an idle socket]({directory}/memory.svg)\n"
    );
    report.plots.push(("memory.svg", svg));
}
