//! What was found, as a table.

use std::collections::BTreeMap;
use std::fmt::Write as _;

#[derive(Debug, Default, Clone)]
pub struct Row {
    pub points: usize,
    pub clean: usize,
    pub recovered: usize,
    /// Something is left after a `delete --force` that said success.
    pub leaks: usize,
    /// `delete --force` failed.
    pub stuck: usize,
    pub hangs: usize,
    pub wrong: usize,
    /// Commands that an injected error made fail, after the program's own start-up.
    pub errors: usize,
    pub unnamed: usize,
}

impl Row {
    fn add(&mut self, other: &Row) {
        self.points += other.points;
        self.clean += other.clean;
        self.recovered += other.recovered;
        self.leaks += other.leaks;
        self.stuck += other.stuck;
        self.hangs += other.hangs;
        self.wrong += other.wrong;
        self.errors += other.errors;
        self.unnamed += other.unnamed;
    }

    fn cells(&self) -> String {
        let Row { points, clean, recovered, leaks, stuck, hangs, wrong, errors, unnamed } = self;
        format!("{points} | {clean} | {recovered} | {leaks} | {stuck} | {hangs} | {wrong} | {unnamed} of {errors}")
    }
}

/// Writes a line of progress.
pub fn say(line: &str) {
    use std::io::Write as _;
    let _ = writeln!(std::io::stderr(), "{line}");
}

#[derive(Debug, Default)]
pub struct Report {
    rows: BTreeMap<(usize, String), Row>,
    order: Vec<String>,
    pub findings: Vec<String>,
    pub skipped: Vec<String>,
    /// Of what a part was asked for.
    pub sampled: Vec<String>,
}

impl Report {
    pub fn row(&mut self, name: &str) -> &mut Row {
        let index = self.order.iter().position(|n| n == name).unwrap_or_else(|| {
            self.order.push(name.to_owned());
            self.order.len() - 1
        });
        self.rows.entry((index, name.to_owned())).or_default()
    }

    /// Something that must not be.
    pub fn finding(&mut self, text: String) {
        say(&format!("  {text}"));
        self.findings.push(text);
    }

    pub fn total(&self) -> Row {
        let mut total = Row::default();
        self.rows.values().for_each(|row| total.add(row));
        total
    }

    pub fn table(&self, runtime: &str, environment: &str, seconds: f64) -> String {
        let mut text = format!("### {runtime}, {environment}\n\n");
        text += "| of | points | clean at once | clean after `delete --force` | leaks | `delete --force` fails | hangs | wrong exit status | errors that do not name step and errno |\n";
        text += "| --- | --- | --- | --- | --- | --- | --- | --- | --- |\n";
        for ((_, name), row) in &self.rows {
            let _ = writeln!(text, "| {name} | {} |", row.cells());
        }
        let _ = writeln!(text, "| **all** | {} |\n\n{} points in {seconds:.0} s.", self.total().cells(), self.total().points);
        for part in &self.sampled {
            let _ = writeln!(text, "A sample: {part}.");
        }
        for reason in &self.skipped {
            let _ = writeln!(text, "Not tested: {reason}.");
        }
        text
    }

    /// One line for scripts: the points, those of them that are as they must be, and the parts that were not tested.
    pub fn line(&self) -> String {
        let Row { points, leaks, stuck, hangs, wrong, errors, unnamed, .. } = self.total();
        let failed = leaks + stuck + hangs + wrong + if unnamed * 100 > errors { unnamed } else { 0 };
        format!("{} passed, {failed} failed, {} skipped", points.saturating_sub(failed), self.skipped.len())
    }

    /// Whether all that must be reached is.
    pub fn good(&self) -> bool {
        let Row { leaks, stuck, hangs, wrong, errors, unnamed, .. } = self.total();
        leaks + stuck + hangs + wrong == 0 && unnamed * 100 <= errors
    }
}
