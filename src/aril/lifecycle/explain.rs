//! `explain`: what `create` would do with a bundle, and what this host would refuse; nothing is started, made or changed.

use super::create::{Mode, Prepared, prepare};
use super::{Creation, Global, refusals};
use crate::cgroup::{Hierarchy, Place, Version};
use crate::compile::hooks::{Hook, Hooks};
use crate::compile::{Part, Plan, describe, namespaces};
use crate::config::Pointer;
use crate::error::{Error, Result};
use aril_plan::{Op, Slot};
use serde::Serialize;
use std::path::PathBuf;

/// What `create` would do, in the order in which it would.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    /// The bundle, absolute.
    pub bundle: PathBuf,
    /// The root file system, absolute.
    pub root: PathBuf,
    /// The container's cgroups.
    pub cgroups: Vec<Group>,
    /// What is written to their files: `memory.max=1048576`.
    pub limits: Vec<Line>,
    /// The device rules: the last that speaks of a device decides. `allow c 1:3 rwm`.
    pub devices: Vec<String>,
    /// What the host opens for the executor, by number.
    pub sources: Vec<Line>,
    /// The namespaces that the executor is born in.
    pub namespaces: Vec<&'static str>,
    /// The steps of the executor, by number.
    pub steps: Vec<Step>,
    /// Hooks that the host runs, when a step asks for them and later.
    pub hooks: Vec<Line>,
    /// What is warned of.
    pub warnings: Vec<String>,
    /// Why this host would not do it, as far as that can be told beforehand.
    pub refused: Vec<Refusal>,
}

/// A cgroup on one hierarchy.
#[derive(Debug, Serialize)]
pub struct Group {
    /// Its kind.
    pub version: Version,
    /// The controllers of a v1 hierarchy.
    pub controllers: Vec<String>,
    /// Its directory.
    pub directory: PathBuf,
    /// Whether it is made, and removed in the end.
    pub made: bool,
}

/// Something that a part of the configuration asks for.
#[derive(Debug, Serialize)]
pub struct Line {
    /// The part: a JSON pointer.
    pub at: String,
    /// What, in words.
    pub what: String,
}

/// A step of the executor.
#[derive(Debug, Serialize)]
pub struct Step {
    /// The part of the configuration that it is for: a JSON pointer.
    pub at: String,
    /// Its name.
    pub op: &'static str,
    /// What it does, in words.
    pub arguments: String,
    /// What the message says if it fails: `cannot mount /data`.
    pub failure: String,
}

/// A reason why the container could not be.
#[derive(Debug, Serialize)]
pub struct Refusal {
    /// The part of the configuration that it is about: a JSON pointer.
    pub at: Option<String>,
    /// The message.
    pub why: String,
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Refusal {
        Refusal { at: error.at().map(|at| at.as_str().to_owned()), why: error.chain() }
    }
}

/// Explains a bundle.
///
/// # Errors
/// The bundle cannot be read, or the configuration cannot be: as `create` says it.
pub fn explain(global: &Global, creation: &Creation) -> Result<Explanation> {
    let prepared = prepare(global, creation, Mode::Create)?;
    let refused = refusals::all(&prepared).into_iter().map(Refusal::from).collect();
    let Prepared { loaded, place, limits, hooks, plan, bundle, rootfs, .. } = prepared;
    let kinds = namespaces::KINDS.iter().filter(|(kind, _)| plan.namespaces & kind != 0);
    Ok(Explanation {
        cgroups: place.hierarchies.iter().flat_map(groups).collect(),
        limits: limits.writes().map(|(at, what)| line(at, what)).collect(),
        devices: limits.devices(),
        sources: plan.sources.iter().map(|(part, source)| line(&plan.parts[*part].at, describe::source(source, &place))).collect(),
        namespaces: kinds.map(|(_, name)| *name).collect(),
        steps: plan.steps().enumerate().map(|(number, (part, op))| step(&plan, &place, number, part, &op)).collect(),
        hooks: host_hooks(&hooks),
        warnings: loaded.warnings.into_iter().chain(plan.warnings).collect(),
        refused,
        bundle,
        root: rootfs,
    })
}

/// The container's cgroup, and that of the payload's own below it.
fn groups(hierarchy: &Hierarchy) -> impl Iterator<Item = Group> {
    let group = |directory, made| Group { version: hierarchy.version, controllers: hierarchy.controllers.clone(), directory, made };
    let own = hierarchy.delegated.as_ref().map(|name| group(hierarchy.directory().join(name), true));
    std::iter::once(group(hierarchy.directory(), hierarchy.ours)).chain(own)
}

fn step(plan: &Plan, place: &Place, number: usize, part: &Part, op: &Op<'_>) -> Step {
    let copied = plan.copies.iter().find(|copied| copied.received == number);
    let copied = copied.map(|copied| describe::source(&copied.source, place) + " ").unwrap_or_default();
    Step { at: part.at.as_str().to_owned(), op: op.name(), arguments: copied + &describe::arguments(op), failure: part.what.clone() }
}

fn line(at: &Pointer, what: String) -> Line {
    Line { at: at.as_str().to_owned(), what }
}

fn host_hooks(hooks: &Hooks) -> Vec<Line> {
    let what = |hook: &Hook| {
        let timeout = hook.timeout.map(|seconds| format!(", at most {seconds} s")).unwrap_or_default();
        Line { at: hook.at.clone(), what: format!("{} with arguments {:?}{timeout}", hook.path.to_string_lossy(), hook.args) }
    };
    [&hooks.prestart, &hooks.create_runtime, &hooks.poststart, &hooks.poststop].into_iter().flatten().map(what).collect()
}

impl Explanation {
    /// For people: a section for each thing, a line for each step.
    #[must_use]
    pub fn text(&self) -> String {
        let mut page = Page::default();
        page.section("Bundle", [[self.bundle.display().to_string()]]);
        page.section("Root", [[self.root.display().to_string()]]);
        page.section(
            "Cgroups",
            self.cgroups.iter().map(|group| {
                let made = if group.made { "made" } else { "there already" };
                [group.directory.display().to_string(), made.to_owned(), group.controllers.join(",")]
            }),
        );
        page.section("Limits", self.limits.iter().map(|line| [line.at.clone(), line.what.clone()]));
        page.section("Devices (the last rule that speaks of one decides)", self.devices.iter().map(|rule| [rule.clone()]));
        let number = |n: usize| describe::slot(Slot(u16::try_from(n).unwrap_or(u16::MAX)));
        let sources = self.sources.iter().enumerate().map(|(n, source)| [number(n), shown(&source.at), source.what.clone()]);
        page.section("The host opens", sources);
        let namespaces = if self.namespaces.is_empty() { "none".to_owned() } else { self.namespaces.join(", ") };
        page.section("The executor is born in new namespaces", [[namespaces]]);
        let steps = self.steps.iter().enumerate();
        page.section(
            "Steps of the executor",
            steps.map(|(n, step)| [format!("{n:>3}"), shown(&step.at), step.op.to_owned(), step.arguments.clone()]),
        );
        page.section("Hooks that the host runs", self.hooks.iter().map(|hook| [hook.at.clone(), hook.what.clone()]));
        page.section("Warnings", self.warnings.iter().map(|warning| [warning.clone()]));
        page.section("This host would refuse it", self.refused.iter().map(|refusal| [refusal.why.clone()]));
        page.0
    }
}

fn shown(at: &str) -> String {
    (if at.is_empty() { "/" } else { at }).to_owned()
}

/// Sections of aligned columns.
#[derive(Default)]
struct Page(String);

impl Page {
    /// A title and rows; nothing where there are none. The last column is as wide as it is.
    fn section<const N: usize>(&mut self, title: &str, rows: impl IntoIterator<Item = [String; N]>) {
        let rows: Vec<[String; N]> = rows.into_iter().collect();
        if rows.is_empty() {
            return;
        }
        let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let widths: [usize; N] = std::array::from_fn(width);
        if !self.0.is_empty() {
            self.0.push('\n');
        }
        self.0 += title;
        self.0.push('\n');
        for row in &rows {
            let cells = row.iter().zip(widths).map(|(cell, width)| format!("  {cell:width$}"));
            self.0 += cells.collect::<String>().trim_end();
            self.0.push('\n');
        }
    }
}
