#include "mpi/transport/interfaces.h"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

typedef struct {
  char *text;
  size_t size, length;
} writer;

static void append(writer *w, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void append(writer *w, const char *format, ...) {
  if (w->length >= w->size) return;
  va_list arguments;
  va_start(arguments, format);
  w->length += (size_t)vsnprintf(w->text + w->length, w->size - w->length, format, arguments);
  va_end(arguments);
}

static int prefix_length(const struct sockaddr *mask) {
  return mask ? __builtin_popcount(((const struct sockaddr_in *)mask)->sin_addr.s_addr) : 32;
}

static void append_interface(writer *w, const struct ifaddrs *interface) {
  char address[INET_ADDRSTRLEN];
  const struct sockaddr_in *of = (const struct sockaddr_in *)interface->ifa_addr;
  if (!inet_ntop(AF_INET, &of->sin_addr, address, sizeof address)) return;
  append(w, "%s %s/%d", interface->ifa_name, address, prefix_length(interface->ifa_netmask));
}

void lap_interfaces_describe(char *text, size_t size) {
  writer w = {text, size, 0};
  struct ifaddrs *all = NULL;
  int count = 0;
  append(&w, "Interfaces here: ");
  if (getifaddrs(&all) != 0) all = NULL;
  for (const struct ifaddrs *i = all; i; i = i->ifa_next) {
    if (!i->ifa_addr || i->ifa_addr->sa_family != AF_INET || !(i->ifa_flags & IFF_UP)) continue;
    append(&w, "%s", count++ ? ", " : "");
    append_interface(&w, i);
  }
  if (all) freeifaddrs(all);
  /* mpirun hands its parameters to the ranks in this form. */
  const char *include = getenv("OMPI_MCA_btl_tcp_if_include");
  append(&w, "%s; btl_tcp_if_include is %s", count ? "" : "none", include ? include : "not set");
}
