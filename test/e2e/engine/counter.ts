/** A shell's script for containers that are saved: counts in memory alone, ten times a second, and tells on standard output. */
export const counter = 'i=0; while :; do i=$((i+1)); echo $i; sleep 0.1; done';
