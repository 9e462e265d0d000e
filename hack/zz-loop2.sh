export PATH=/work/main/node_modules/.bin:$PATH
cd /work/main
for n in 1 2 3 4 5 6 7 8 9 10; do
  rm -rf /run/gantry; node $NODE_FLAGS src/main.ts > /run/g.log 2>&1 & p=$!
  for i in $(seq 400); do [ -S /run/gantry/gantry.sock ] && break; kill -0 $p 2>/dev/null || break; sleep .1; done
  if [ -S /run/gantry/gantry.sock ]; then echo ok; kill $p; wait $p; echo "rc $?"; else wait $p; echo "DIED $?"; head -c 3000 /run/g.log;  fi
date; done
