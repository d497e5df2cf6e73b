//! The command `archipelago`.

fn main() -> std::process::ExitCode {
    cli::archipelago::main(std::env::args_os())
}
