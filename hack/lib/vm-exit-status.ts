/** What hack/vm ends with when not its command but the machine failed, as emulation does now and then. */
export const exitMachineDied = 125;
