//! TEMP until the command line is merged.
fn main() {
    let args: Vec<_> = std::env::args_os().skip(1).collect();
    pretty_env_logger::formatted_builder()
        .filter_level(log::LevelFilter::Warn)
        .filter_module("pgchat", log::LevelFilter::Info)
        .parse_default_env()
        .init();
    if args.first().is_some_and(|a| a == "embedded-postgres") {
        if let Err(e) = pgchat::embedded::watchdog_main(args[1..].to_vec()) {
            log::error!("{e}");
        }
        return;
    }
    let loaded = match pgchat::config::load(None) {
        Ok(l) => l,
        Err(e) => {
            log::error!("{e}");
            std::process::exit(2)
        }
    };
    let Ok(rt) = tokio::runtime::Runtime::new() else {
        return;
    };
    let r = rt.block_on(async {
        if args.first().is_some_and(|a| a == "migrate") {
            return pgchat::app::migrate(loaded.config).await;
        }
        pgchat::app::serve(loaded.config, async {
            let _ = tokio::signal::ctrl_c().await;
        })
        .await
    });
    if let Err(e) = r {
        log::error!("{e}");
        std::process::exit(1)
    }
}
