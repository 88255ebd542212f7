/* A server that died had a connection to the kernel: what its keeper says to the kernel before the next one runs. */
#ifndef PLOOP_KEEPER_REJOIN_H
#define PLOOP_KEEPER_REJOIN_H

/* Make a socket pair and say the generic netlink message in the file @message, which calls the kernel's end
 * KEEPER_REJOIN_FD; that the kernel has not seen the death yet (-ENOSPC) is waited for. Returns the other end, or -1:
 * then the next server speaks for itself. In a process of its own: it may wait, and takes that number. */
int keeper_rejoin(int message);

#endif
