//! `explaind audit verify`: reads an audit log through.

use std::fs::File;
use std::io::BufReader;
use std::process::ExitCode;

use super::Failure;
use super::args::AuditCommand;
use super::failure::DOES_NOT_HOLD;
use crate::audit::{Verdict, verify};

pub(super) fn run(command: &AuditCommand) -> Result<ExitCode, Failure> {
    let AuditCommand::Verify { file } = command;
    let name = file.display();
    let failed = |error| Failure::io(name.to_string(), error);
    let found = verify(BufReader::with_capacity(1 << 20, File::open(file).map_err(failed)?)).map_err(failed)?;
    let whole = counted(&found);
    let text = match &found.fault {
        None => format!("{name}: {whole}\n"),
        Some(fault) => format!("{name}:{}: {}\nbefore it: {whole}\n", fault.line, fault.why),
    };
    super::print(text.as_bytes())?;
    Ok(if found.fault.is_none() { ExitCode::SUCCESS } else { ExitCode::from(DOES_NOT_HOLD) })
}

fn counted(found: &Verdict) -> String {
    match (&found.last, &found.times) {
        (Some(last), Some((first, newest))) => format!(
            "{} whole {}, {first} to {newest}; the newest is record {}, hash {}",
            found.records,
            if found.records == 1 { "record" } else { "records" },
            last.seq,
            last.hash
        ),
        _ => "no record".to_owned(),
    }
}
