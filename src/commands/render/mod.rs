//! `render`: what the operator would make of a BackupTarget, on the terminal.

mod explain;
mod input;
mod store;
mod target;

use std::{collections::BTreeSet, fmt::Write as _, path::PathBuf};

use clap::{Args, ValueEnum};

use super::Failure;
use input::{Input, Origin};
use store::Store;
use target::Target;

/// What is given, and what is asked for.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  backup-target-operator render -f target.yaml
  backup-target-operator render -f target.yaml -f store.yaml -o policy | jq .
  backup-target-operator render -f target.yaml -o table
  kubectl get backuptargets,backupstores -A -o yaml | backup-target-operator render -f - -o rclone
  backup-target-operator render -f store.yaml -o operator-policy,boundary --cluster-id prod")]
pub struct Arguments {
    /// A file, a folder, or - for standard input; can be given several times.
    #[arg(short, long = "filename", required = true, value_name = "PATH")]
    files: Vec<PathBuf>,

    /// What to print; several are separated by commas, and each gets a heading then.
    #[arg(short, long, value_enum, value_delimiter = ',', default_value = "policy,rclone")]
    output: Vec<Output>,

    /// Region of the buckets, where no BackupStore says it [default: us-east-1].
    #[arg(long)]
    region: Option<String>,

    /// The AWS account, where neither a BackupStore's status nor its boundary says it.
    #[arg(long, value_parser = account)]
    account: Option<String>,

    /// Id of the cluster in IAM paths, where a BackupStore names no path of its own.
    #[arg(long, env = "CLUSTER_ID", value_parser = super::run::cluster_id)]
    cluster_id: Option<String>,

    /// ARN that a bucket policy grants the access to; can be given several times [default: the target's own IAM user].
    #[arg(long = "principal", value_name = "ARN", value_parser = principal)]
    principals: Vec<String>,
}

/// What to print.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Output {
    /// The IAM policy of the target's IAM user.
    Policy,
    /// The same access as a bucket policy: what the owner of a bucket in another account has to add.
    BucketPolicy,
    /// The rclone.conf.
    Rclone,
    /// The Secret.
    Secret,
    /// Per tier: each action, on what, under which condition, and why it is there.
    Table,
    /// The least-privilege IAM policy that the operator itself needs for a BackupStore.
    OperatorPolicy,
    /// A permissions boundary for a BackupStore: the union of what its rules allow.
    Boundary,
    /// All of these.
    All,
}

/// What was asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rendered {
    /// For standard output.
    pub text: String,
    /// What a person should know besides, for standard error.
    pub notes: Vec<String>,
}

/// Renders, or says all that is wrong and renders nothing.
///
/// # Errors
/// [`Failure::Input`] with every fault that was found.
pub fn run(arguments: &Arguments) -> Result<Rendered, Failure> {
    let input = input::read(&arguments.files)?;
    let outputs = chosen(&arguments.output);
    let mut page = Page { headings: outputs.len() > 1, notes: input.notes.clone(), ..Page::default() };
    let (of_stores, of_targets): (BTreeSet<Output>, BTreeSet<Output>) =
        outputs.into_iter().partition(|output| matches!(output, Output::OperatorPolicy | Output::Boundary));
    // Whoever wants all wants what there is.
    let all = arguments.output.contains(&Output::All);
    if all && input.targets.is_empty() && input.stores.is_empty() {
        return Err(input.without("BackupTarget, nor any BackupStore,"));
    }
    if !(of_targets.is_empty() || all && input.targets.is_empty()) {
        targets(arguments, &input, &of_targets, &mut page)?;
    }
    if !(of_stores.is_empty() || all && input.stores.is_empty()) {
        stores(arguments, &input, &of_stores, &mut page)?;
    }
    page.finish()
}

fn chosen(outputs: &[Output]) -> BTreeSet<Output> {
    if outputs.contains(&Output::All) {
        return Output::value_variants().iter().copied().filter(|output| *output != Output::All).collect();
    }
    outputs.iter().copied().collect()
}

fn targets(arguments: &Arguments, input: &Input, outputs: &BTreeSet<Output>, page: &mut Page) -> Result<(), Failure> {
    if input.targets.is_empty() {
        return Err(input.without("BackupTarget"));
    }
    if input.stores.is_empty() {
        let region = arguments.region.as_deref().unwrap_or(store::DEFAULT_REGION);
        page.note(format!("no BackupStore was given: taking one on AWS in {region} that allows everything"));
    }
    for (origin, object) in &input.targets {
        let target = Store::of(object, input, arguments).and_then(|store| Target::new(object, store, input));
        match target {
            Ok(target) => outputs.iter().for_each(|output| page.add(origin, target.render(*output, arguments))),
            Err(fault) => page.fault(origin, &fault),
        }
    }
    Ok(())
}

fn stores(arguments: &Arguments, input: &Input, outputs: &BTreeSet<Output>, page: &mut Page) -> Result<(), Failure> {
    if input.stores.is_empty() {
        return Err(input.without("BackupStore"));
    }
    for (origin, object) in &input.stores {
        match Store::new(object, arguments) {
            Ok(store) if !store.has_policies() && arguments.output.contains(&Output::All) => {
                page.note(format!("{}: no operator-policy and no boundary, which its provider has not", origin.object));
            }
            Ok(store) if store.path.is_none() && arguments.output.contains(&Output::All) => {
                page.note(format!("{}: no operator-policy without spec.aws.iamPath or --cluster-id", origin.object));
                page.add(origin, store.render(Output::Boundary));
            }
            Ok(store) => outputs.iter().for_each(|output| page.add(origin, store.render(*output))),
            Err(fault) => page.fault(origin, &fault),
        }
    }
    Ok(())
}

/// One part of the output.
struct Part {
    title: String,
    text: String,
    notes: Vec<String>,
}

/// Collects parts, notes and faults; any fault means that nothing is printed.
#[derive(Default)]
struct Page {
    headings: bool,
    text: String,
    notes: Vec<String>,
    faults: Vec<String>,
}

impl Page {
    fn add(&mut self, origin: &Origin, part: Result<Part, String>) {
        match part {
            Ok(part) => {
                if self.headings {
                    let gap = if self.text.is_empty() { "" } else { "\n" };
                    let _ = writeln!(self.text, "{gap}# {}: {}", origin.object, part.title);
                }
                self.text += part.text.trim_end();
                self.text.push('\n');
                part.notes.into_iter().for_each(|note| self.note(format!("{}: {note}", origin.object)));
            }
            Err(fault) => self.fault(origin, &fault),
        }
    }

    fn note(&mut self, note: String) {
        if !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }

    fn fault(&mut self, origin: &Origin, fault: &str) {
        self.faults.push(format!("{origin}: {fault}"));
    }

    fn finish(self) -> Result<Rendered, Failure> {
        if self.faults.is_empty() {
            Ok(Rendered { text: self.text, notes: self.notes })
        } else {
            Err(Failure::Input(self.faults))
        }
    }
}

/// Anything but one principal, such as `*`, would open the bucket.
fn principal(text: &str) -> Result<String, String> {
    let parts: Vec<&str> = text.splitn(6, ':').collect();
    let one = matches!(parts.as_slice(), ["arn", partition, "iam" | "sts", "", account, name]
        if partition.starts_with("aws") && crate::access::terms::AccountId::parse(account).is_ok() && !name.is_empty());
    if one && !text.contains(['*', '?', ' ']) {
        Ok(text.to_owned())
    } else {
        Err("write the ARN of one user or role, such as arn:aws:iam::123456789012:user/backup".to_owned())
    }
}

fn account(text: &str) -> Result<String, String> {
    crate::access::terms::AccountId::parse(text)
        .map(|id| id.to_string())
        .map_err(|_| "an AWS account id has twelve digits".to_owned())
}
