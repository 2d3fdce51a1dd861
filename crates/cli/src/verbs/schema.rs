//! `ambidex schema`: JSON Schemas of what others read and write.

use ambidex_config::Config;

use crate::args::SchemaOf;
use crate::console::Console;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::show::pretty;

pub fn schema(of: SchemaOf, console: &mut Console) -> Result<Exit, Failure> {
    let schema = match of {
        SchemaOf::Events => ambidex_core::schema::events(),
        SchemaOf::Records => ambidex_core::schema::records(),
        SchemaOf::Config => Config::json_schema(),
    };
    super::print(console, &pretty(&schema, console.stdout_paint()))
}
