#!/bin/sh
# Whether the settings of pgchat name a database (DB_HOST or DATABASE_URL), in the environment or in the file that it would read here:
# then it starts none of its own. Says so by its exit code, 0 or 1.
set -eu
file=${PGCHAT_CONFIG:-config.env}

# As pgchat reads it: the environment wins, and what is set to nothing is not set.
is_set() {
    if eval "[ \"\${$1+is}\" = is ]"; then
        eval "[ -n \"\$$1\" ]"
    else
        grep -Eq "^[[:space:]]*(export[[:space:]]+)?$1[[:space:]]*=[[:space:]]*['\"]?[^[:space:]'\"#]" "$file" 2>/dev/null
    fi
}

is_set DB_HOST || is_set DATABASE_URL
