package netfilter

// This file: the chains of nftables that forwarded packets pass. iptables-nft's
// are among them (include/uapi/linux/netfilter/nf_tables.h).

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/google/nftables"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/nodevitals/nodevitals/internal/host"
)

// maxChains is how many chains of rules are read of one table.
const maxChains = 256

var errTooMany = fmt.Errorf("more than %d chains", maxChains)

// Nftables are the base chains of nftables on the forward hook, for packets of a
// family (unix.AF_INET or AF_INET6).
func Nftables(h *host.Host, family int) ([]Forward, error) {
	if there, err := loaded(h, "nf_tables"); err != nil || !there {
		return nil, err
	}
	var found []Forward
	for _, f := range []nftables.TableFamily{nftables.TableFamily(family), nftables.TableFamilyINet} {
		err := dump(unix.NFNL_SUBSYS_NFTABLES, unix.NFT_MSG_GETCHAIN, byte(f), func(message []byte) bool {
			c, ok := parseChain(message)
			if ok {
				found = append(found, c.forward(f, family))
			}
			return len(found) < maxChains
		})
		if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EINVAL) {
			continue // a kernel without nftables, or without the family
		} else if err != nil {
			return nil, err
		}
	}
	return found, nil
}

// chain is a base chain on the forward hook.
type chain struct {
	table, name string
	drop        bool
	dropped     *uint64
}

// parseChain reads a chain's message; it is false for one that is not on the
// forward hook. The library does not read the counter of the policy.
func parseChain(message []byte) (c chain, ok bool) {
	ad, err := netlink.NewAttributeDecoder(message[headerSize+familySize:])
	if err != nil {
		return c, false
	}
	ad.ByteOrder = binary.BigEndian
	for ad.Next() {
		switch ad.Type() {
		case unix.NFTA_CHAIN_TABLE:
			c.table = ad.String()
		case unix.NFTA_CHAIN_NAME:
			c.name = ad.String()
		case unix.NFTA_CHAIN_POLICY:
			c.drop = ad.Uint32() == uint32(nftables.ChainPolicyDrop)
		case unix.NFTA_CHAIN_HOOK:
			ad.Nested(func(nested *netlink.AttributeDecoder) error {
				for nested.Next() {
					if nested.Type() == unix.NFTA_HOOK_HOOKNUM {
						ok = nested.Uint32() == unix.NF_INET_FORWARD
					}
				}
				return nil
			})
		case unix.NFTA_CHAIN_COUNTERS:
			ad.Nested(func(nested *netlink.AttributeDecoder) error {
				for nested.Next() {
					if nested.Type() == unix.NFTA_COUNTER_PACKETS {
						n := nested.Uint64()
						c.dropped = &n
					}
				}
				return nil
			})
		}
	}
	return c, ok && ad.Err() == nil
}

// forward makes the chain's rules readable, each chain when it is asked for.
func (c chain) forward(table nftables.TableFamily, family int) Forward {
	name := map[nftables.TableFamily]string{
		nftables.TableFamilyIPv4: "ip", nftables.TableFamilyIPv6: "ip6", nftables.TableFamilyINet: "inet",
	}[table]
	t := &nftables.Table{Name: c.table, Family: table}
	asked := 0
	return Forward{
		Table: "nftables " + name + " " + c.table, Chain: c.name, Drop: c.drop, Dropped: c.dropped,
		rules: func(chain string) ([]Rule, error) {
			if asked++; asked > maxChains {
				return nil, errTooMany
			}
			conn, err := nftables.New(nftables.WithSockOptions(func(conn *netlink.Conn) error {
				return conn.SetDeadline(time.Now().Add(patience))
			}))
			if err != nil {
				return nil, err
			}
			list, err := conn.GetRules(t, &nftables.Chain{Name: chain, Table: t})
			if err != nil {
				return nil, fmt.Errorf("nftables %s %s, chain %s: %w", name, c.table, chain, err)
			}
			var rules []Rule
			for _, r := range list {
				rules = append(rules, translate(family, r.Exprs, func(set string) ([]nftables.SetElement, error) {
					return conn.GetSetElements(&nftables.Set{Table: t, Name: set})
				})...)
			}
			return rules, nil
		},
	}
}
