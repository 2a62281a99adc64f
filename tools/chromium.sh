#!/bin/sh
# The browser tests drive a Chromium that the system has; where it has none and apt-get may be used, install it.
for name in "${CHROMIUM:-chromium}" chromium chromium-browser google-chrome; do
  command -v "$name" >/dev/null && exit 0
done
if [ "$(id -u)" = 0 ]; then as_root=; else as_root='sudo -n'; fi
if command -v apt-get >/dev/null && $as_root true 2>/dev/null; then
  $as_root apt-get update -qq && $as_root apt-get install -y -qq --no-install-recommends chromium >/dev/null && exit 0
fi
echo 'The browser tests need Chromium or Chrome. Install one (Debian: apt-get install chromium), or name the program:' >&2
echo '    make test CHROMIUM=/path/to/chrome' >&2
exit 1
