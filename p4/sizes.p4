// Table sizes and widths, in one place. Targets with less memory override them on p4c's command line (-D).

#ifndef ADMIT_TABLE_SIZE
#define ADMIT_TABLE_SIZE 1024
#endif
#ifndef ARP_TABLE_SIZE
#define ARP_TABLE_SIZE 1024
#endif
#ifndef ND_TABLE_SIZE
#define ND_TABLE_SIZE 1024
#endif
// Each of the two, for IPv4 and for IPv6.
#ifndef VSERVER_TABLE_SIZE
#define VSERVER_TABLE_SIZE 1024
#endif
// Four vservers of 65,536 buckets, or 64 of the default 4,096.
#ifndef BUCKET_TABLE_SIZE
#define BUCKET_TABLE_SIZE 262144
#endif
#ifndef SLOT_TABLE_SIZE
#define SLOT_TABLE_SIZE 65536
#endif
#ifndef STATION_TABLE_SIZE
#define STATION_TABLE_SIZE 16384
#endif
#ifndef FLOOD_TABLE_SIZE
#define FLOOD_TABLE_SIZE 4096
#endif
#ifndef DROP_REASONS
#define DROP_REASONS 9
#endif
// Cells of each of the transit filter's two registers; a power of two.
#ifndef TRANSIT_CELLS
#define TRANSIT_CELLS 65536
#endif
// Vservers share a packet-in limit when their ids are the same modulo this power of two.
#ifndef PACKET_IN_LIMITS
#define PACKET_IN_LIMITS 1024
#endif
// Options of a neighbour solicitation: what fits below a payload of 512 bytes.
#ifndef ND_OPTIONS_MAX_BITS
#define ND_OPTIONS_MAX_BITS 3904
#endif
