//! `aril list`

use crate::error::Result;
use crate::lifecycle::Global;
use crate::lifecycle::list::{self, Entry};
use clap::ValueEnum;
use std::fmt::Write as _;

/// List the containers below the state root
///
/// A container that another runtime made is listed with that runtime's name after its owner (key `runtime` in JSON).
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  aril list\n  aril --root /run/containerd/runc/k8s.io list --format json")]
pub(super) struct List {
    /// Form of the list
    #[arg(short, long, value_name = "FORMAT", value_enum, default_value_t)]
    pub(super) format: Format,
    /// Print ids only
    #[arg(short, long)]
    pub(super) quiet: bool,
}

#[derive(Debug, Clone, Copy, Default, ValueEnum)]
pub(super) enum Format {
    #[default]
    Table,
    Json,
}

impl List {
    pub(super) fn run(self, global: &Global) -> Result<u8> {
        let entries = list::list(global)?;
        super::print(&match (self.quiet, self.format) {
            (true, _) => entries.iter().map(|entry| format!("{}\n", entry.id)).collect(),
            (false, Format::Table) => table(&entries),
            (false, Format::Json) => serde_json::to_string(&entries).unwrap_or_default() + "\n",
        })
        .map(|()| 0)
    }
}

/// Columns of at least 12 characters and three blanks between, the last one as long as it is.
fn table(entries: &[Entry]) -> String {
    let head = ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"].map(str::to_owned);
    let rows: Vec<[String; 6]> = std::iter::once(head).chain(entries.iter().map(row)).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count() + 3).fold(12, usize::max);
    let widths: [usize; 5] = std::array::from_fn(width);
    let mut text = String::new();
    for row in &rows {
        for (cell, width) in row.iter().zip(widths) {
            let _ = write!(text, "{cell:width$}");
        }
        text += &row[5];
        text.push('\n');
    }
    text
}

fn row(entry: &Entry) -> [String; 6] {
    let owner = entry.runtime.map_or_else(|| entry.owner.clone(), |runtime| format!("{} ({runtime})", entry.owner));
    [entry.id.clone(), entry.pid.to_string(), entry.status.to_string(), entry.bundle.clone(), entry.created.clone(), owner]
}

#[cfg(test)]
mod tests {
    use super::table;
    use crate::lifecycle::Status;
    use crate::lifecycle::list::Entry;

    #[test]
    fn columns_line_up_and_other_runtimes_are_named() {
        let ours = Entry {
            id: "web".to_owned(),
            pid: 4242,
            status: Status::Running,
            bundle: "/srv/web".to_owned(),
            created: "2026-01-02T03:04:05.678901234Z".to_owned(),
            owner: "root".to_owned(),
            ..Entry::default()
        };
        let theirs = Entry { id: "a-name-that-is-long".to_owned(), pid: 0, status: Status::Stopped, runtime: Some("runc"), ..ours.clone() };
        assert_eq!(
            table(&[ours, theirs]),
            "ID                    PID         STATUS      BUNDLE      CREATED                          OWNER\n\
             web                   4242        running     /srv/web    2026-01-02T03:04:05.678901234Z   root\n\
             a-name-that-is-long   0           stopped     /srv/web    2026-01-02T03:04:05.678901234Z   root (runc)\n"
        );
        assert_eq!(table(&[]), "ID          PID         STATUS      BUNDLE      CREATED     OWNER\n");
    }
}
