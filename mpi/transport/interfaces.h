/* interfaces: the network interfaces of this node, for messages of a start-up that hangs (private
 * to mpi/transport).
 */
#ifndef LAP_MPI_TRANSPORT_INTERFACES_H
#define LAP_MPI_TRANSPORT_INTERFACES_H

#include <stddef.h>

/* Those that are up, with their IPv4 networks, and what Open MPI was told of them: "Interfaces
 * here: lo 127.0.0.1/8, eth0 10.77.0.1/24; btl_tcp_if_include is not set". */
void lap_interfaces_describe(char *text, size_t size);

#endif
