# shellcheck shell=bash disable=SC2012  # the names are ours
# For scripts that measure: a private PostgreSQL on a Unix socket, with fsync off (what is measured is work, not the disk), as
# the account postgres when run by root. To be sourced; stops and removes it at the exit. Gives $bin, $dir, the array `as` of
# the account, sql(), start(), stop() and make_chat().
#
# PG_BIN_DIR names the directory of initdb, where it is not found.
bin=${PG_BIN_DIR:-$(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -V | tail -1)}
dir=$(mktemp -d)
as=()
if [ "$(id -u)" = 0 ]; then
  chown postgres "$dir"
  as=(runuser -u postgres --)
fi
start() {
  "${as[@]}" "$bin/pg_ctl" -D "$dir/data" -l "$dir/log" -w start \
    -o "-c listen_addresses='' -c unix_socket_directories=$dir -c fsync=off -c max_wal_size=8GB" > /dev/null
}
stop() { "${as[@]}" "$bin/pg_ctl" -D "$dir/data" -m "$1" -w stop > /dev/null 2>&1 || true; }
trap 'stop immediate; rm -rf "$dir"' EXIT
"${as[@]}" "$bin/initdb" -D "$dir/data" -A trust -U postgres --no-sync > /dev/null
start

export PGHOST=$dir PGUSER=postgres PGOPTIONS='-c check_function_bodies=off -c client_min_messages=warning'
sql() { psql -q -X -v ON_ERROR_STOP=1 -o /dev/null "$@"; }

# The tables, the search index unless SEARCH_LANGUAGE is off, 1,000 users and 500 conversations.
make_chat() {
  local file
  sql -f sql/demo/users_table.sql
  for file in $(ls sql/migrations | sort -V); do sql -1 -f "sql/migrations/$file"; done
  if [ "${SEARCH_LANGUAGE:-simple}" != off ]; then
    psql -q -X -At -c "select chat_search_index_ddl('${SEARCH_LANGUAGE:-simple}')" | sql
  fi
  sql <<'SQL'
insert into users (first_name, last_name, email, avatar_url)
select 'First' || i, 'Last' || i, 'u' || i || '@example.com', 'https://cdn.example.com/' || i || '.png'
  from generate_series(1, 1000) i;
select chat_link_users('users');
insert into conversations (participant1_id, participant2_id)
select id, other from (select id, lead(id) over (order by id) as other from users) u where other is not null limit 500;
SQL
}
