//! The command `xseg`.

fn main() -> std::process::ExitCode {
    cli::segments::main(std::env::args_os())
}
