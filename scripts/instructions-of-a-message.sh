#!/usr/bin/env bash
# Instructions of PostgreSQL for a message alone, counted by callgrind in a backend of its own: on a busy machine as on a quiet
# one, but for some per cent more when it takes over a minute, after which conversations move in their lists
# (docs/performance.md). Debian: apt-get install valgrind.
#
#   scripts/instructions-of-a-message.sh [profile]
#
# profile: where callgrind's output of a whole run is kept, for callgrind_annotate --inclusive=yes.
# BEFORE: SQL that is run before the count, to see what a part costs; such as 'drop index chat_messages_read'.
set -euo pipefail
cd "$(dirname "$0")/.."
command -v valgrind > /dev/null || { echo 'valgrind is not there: apt-get install valgrind' >&2; exit 1; }
. scripts/private-cluster.sh
make_chat
content='lorem ipsum dolor sit amet consectetur adipiscing elit sed do eiusmod tempor incididunt ut labore et d'
sql <<SQL
create table numbered as select row_number() over () as number, id, participant1_id as sender from conversations;
create unique index on numbered (number);
do \$\$
begin
  for turn in 1..2000 loop
    perform chat_store_message(chat_uuid_v7(), n.id, n.sender, '$content', 'text', gen_random_uuid()::text, true, 100)
       from numbered n where n.number = 1 + turn % 500;
  end loop;
end
\$\$;
${BEFORE:-}
SQL
sql -c 'vacuum analyze'
stop fast

# So many messages in a copy of the cluster, each a transaction; prints all instructions of the process.
count() {
  cp -a "$dir/data" "$dir/data-$1"
  {
    echo "prepare send (int) as select s.status from numbered n, lateral chat_store_message(chat_uuid_v7(), n.id, n.sender," \
         "'$content', 'text', gen_random_uuid()::text, true, 100) s where n.number = \$1"
    seq "$1" | awk '{ print "execute send (" 1 + $1 * 7 % 500 ")" }'
  } > "$dir/$1.sql"
  "${as[@]}" valgrind --tool=callgrind --callgrind-out-file="$dir/profile-$1" \
    "$bin/postgres" --single -D "$dir/data-$1" -c fsync=off postgres < "$dir/$1.sql" > "$dir/$1.out" 2> "$dir/$1.err"
  if [ "$(grep -c stored "$dir/$1.out")" != "$1" ]; then
    cat "$dir/$1.err" >&2
    return 1
  fi
  sed -n 's/.*Collected : \([0-9]*\)$/\1/p' "$dir/$1.err"
}
few=$(count 50)
many=$(count 250)
echo "$(((many - few) / 200)) instructions for a message alone"
if [ $# -gt 0 ]; then cp "$dir/profile-250" "$1"; fi
