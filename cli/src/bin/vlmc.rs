//! The command `vlmc`.

fn main() -> std::process::ExitCode {
    cli::volumes::main(std::env::args_os())
}
